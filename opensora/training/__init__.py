"""Training of diffusion transformers from latent and embedding stores."""
