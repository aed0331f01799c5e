"""Layers shared by the diffusion transformers."""
