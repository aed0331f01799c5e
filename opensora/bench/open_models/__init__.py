"""`opensora bench open`: the trainer beside a plain loop of diffusers, on a Wan transformer."""
