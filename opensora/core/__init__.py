"""Errors, files, configuration, registries, logging and seeds; imports no torch."""
