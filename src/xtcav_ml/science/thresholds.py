"""The numbers that decide what counts as significant, as good or as enough: one place for the pipeline, tools and report."""

CONFIDENCE = 0.95
"""Level of every confidence interval."""

SIGNIFICANT = 0.05
"""A difference counts as real if its p-value is below this."""

MARGIN = 0.02
"""Largest loss at which a model still counts as not worse: fraction of the shots, or of the truth's standard deviation."""

POWER = 0.8
"""A test set is large enough if an equally good model would pass as not worse with this probability."""

COMMON_SHOTS = 0.9
"""Fraction of the champion's test shots that its successor must have been tested on as well."""

CALIBRATION_BINS = 10
"""Bins of confidence, equal in width, from 0 to 1."""
