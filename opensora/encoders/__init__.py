"""Small encoders that a run trains for itself where no weights are given: VAE, CLIP, text."""
