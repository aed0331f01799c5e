"""DiT: 16 frames of 256 x 256 pixels, from the weights of its image model."""

_base_ = ["../../base/train.py", "../../base/clip.py"]

dataset = dict(
    type="VideoTextDataset",
    data_path=None,  # --data-path TABLE.csv
    num_frames=16,
    frame_interval=3,
    image_size=(256, 256),
)
model = dict(
    type="DiT-XL/2",
    from_pretrained="DiT-XL-2-256x256.pt",
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
)
batch_size = 8
