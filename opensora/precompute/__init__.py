"""Fill the latent and embedding stores ahead of training, and examine what is in them."""
