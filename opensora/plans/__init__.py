"""Batch plans, decided before training."""
