"""Clips: scenes cut into files of bounded length."""
