"""Training of diffusion transformers, from stores or from video files."""
