"""DiT: images of 256 x 256 pixels with captions, from random weights."""

_base_ = ["../../base/train.py", "../../base/clip.py"]

dataset = dict(
    type="VideoTextDataset",
    data_path=None,
    num_frames=1,
    frame_interval=1,
    image_size=(256, 256),
    transform_name="center",  # the middle square
)
model = dict(
    type="DiT-XL/2",
    no_temporal_pos_emb=True,
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
)

grad_checkpoint = False
batch_size = 128
lr = 1e-4
