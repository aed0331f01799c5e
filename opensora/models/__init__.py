"""Networks, autoencoders and text encoders; a model knows no config and no process group."""
