"""Latents and embeddings on disk: written once, read by memory map."""
