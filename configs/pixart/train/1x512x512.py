"""PixArt on images of 512 x 512 pixels."""

_base_ = ["16x256x256.py"]

dataset = dict(num_frames=1, image_size=(512, 512))
model = dict(space_scale=1.0, no_temporal_pos_emb=True)
batch_size = 32
