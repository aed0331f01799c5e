"""Demo text encoder: two layers over the bytes of a caption."""

d_model = 96
d_ff = 256
num_layers = 2
num_heads = 4
max_length = 64

num_steps = 150
batch_size = 64
lr = 0.02  # Muon: the matrices of the blocks
adamw_lr = 2e-3  # everything else
seed = 42
