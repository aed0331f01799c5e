"""DiT: 16 frames of 256 x 256 pixels from text."""

_base_ = ["../../base/inference.py", "../../base/clip.py"]

num_frames = 16
fps = 8
image_size = (256, 256)  # height, width

model = dict(
    type="DiT-XL/2",
    condition="text",
    from_pretrained="PRETRAINED_MODEL",  # --ckpt-path FILE
)
scheduler = dict(type="dpm-solver", num_sampling_steps=20, cfg_scale=4.0)

prompt_path = "assets/texts/ucf101_labels.txt"
