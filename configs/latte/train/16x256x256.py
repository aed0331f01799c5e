"""Latte: 16 frames of 256 x 256 pixels, from random weights."""

_base_ = ["../../base/train.py", "../../base/clip.py"]

dataset = dict(
    type="VideoTextDataset",
    data_path=None,  # --data-path TABLE.csv
    num_frames=16,
    frame_interval=3,
    image_size=(256, 256),
)
model = dict(type="Latte-XL/2", enable_flash_attn=True, enable_layernorm_kernel=True)
batch_size = 8
