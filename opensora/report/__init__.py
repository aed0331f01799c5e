"""The report of one run: a self-contained HTML page built from the run folder."""
