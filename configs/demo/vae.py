"""Demo VAE: 4x down, 4 channels, trained from nothing on the frames of the demo world."""

sizes = [(32, 32), (24, 40), (40, 24), (24, 24)]  # (height, width)
block_out_channels = (16, 32, 64)
latent_channels = 4
frames_per_clip = 8

num_steps = 600
batch_size = 16
lr = 0.02  # Muon: the convolutions
adamw_lr = 2e-3  # everything else
kl_weight = 3e-3
seed = 42
