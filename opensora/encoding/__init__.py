"""Fill the latent and embedding stores ahead of training."""
