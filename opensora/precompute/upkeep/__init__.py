"""Data files that are there already: small ones are joined, rows that shall go are taken out."""
