"""Weights: found by name, read from any usual format, matched to a model."""
