"""The thresholds of significance, quality and sufficiency, for the pipeline, tools and report."""

CONFIDENCE = 0.95  # level of every confidence interval
INTERVAL = f"{100 * CONFIDENCE:g} % interval"
SIGNIFICANT = 0.05  # a difference counts as real if its p-value is below this
POWER = 0.8  # a test set suffices if an equally good model would pass with this probability
COMMON_SHOTS = 0.9  # fraction of the champion's test shots that its successor must share
SUSPICIOUS = 3.0  # standard score from which labels are taken to be known: chance gives one in 700
CALIBRATION_BINS = 10  # bins of confidence, equal in width, from 0 to 1
