"""Whole training steps: ours, those of another checkout, and the reference's."""
