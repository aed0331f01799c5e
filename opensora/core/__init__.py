"""Errors, whole files, logging, seeds and versions; imports no torch."""
