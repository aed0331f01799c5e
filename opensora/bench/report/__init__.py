"""How long the report of a run takes to open and to filter in a browser."""
