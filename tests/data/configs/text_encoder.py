"""The smallest text encoder."""

d_model = 32
d_ff = 32
num_layers = 1
num_heads = 2
max_length = 64
num_steps = 5
batch_size = 8
seed = 42
