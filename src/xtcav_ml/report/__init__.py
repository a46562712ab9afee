"""The report: one page that says what the results are and where they come from."""
