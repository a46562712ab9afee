"""The report: one page of results and their origin."""
