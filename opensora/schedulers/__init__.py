"""Schedulers: how a sample is noised in training and denoised in sampling."""
