"""Buckets, batch plans, latent and embedding stores, transforms and masks."""
