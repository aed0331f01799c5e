"""The smallest VAE."""

sizes = [(32, 32), (24, 40), (40, 24), (24, 24)]
block_out_channels = (16, 16, 16)
frames_per_clip = 2
num_steps = 40
batch_size = 8
seed = 42
