"""Writing checkpoints: what is in one, the files, and the thread that writes them."""
