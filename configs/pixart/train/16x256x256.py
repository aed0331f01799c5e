"""PixArt on videos: 16 frames of 256 x 256 pixels, from its image weights."""

_base_ = ["../../base/train.py", "../../base/t5_train.py"]

dataset = dict(
    type="VideoTextDataset",
    data_path=None,  # --data-path TABLE.csv
    num_frames=16,
    frame_interval=3,
    image_size=(256, 256),
)
model = dict(
    type="PixArt-XL/2",
    space_scale=0.5,  # height over that of the images the model began with, 512
    time_scale=1.0,
    from_pretrained="PixArt-XL-2-512x512.pth",
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
)
batch_size = 8
