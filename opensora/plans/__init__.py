"""Batch plans, decided before training, and what they will cost."""
