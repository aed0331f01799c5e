"""A page in the browser that samples a prompt with one or several checkpoints."""
