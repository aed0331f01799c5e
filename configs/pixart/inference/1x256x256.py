"""PixArt-alpha's own weights: images of 256 x 256 pixels."""

_base_ = ["../../base/inference.py", "../../base/t5.py"]

num_frames = 1
fps = 1
image_size = (256, 256)  # height, width

model = dict(
    type="PixArt-XL/2",
    space_scale=1.0,
    time_scale=1.0,
    no_temporal_pos_emb=True,
    from_pretrained="PixArt-XL-2-256x256.pth",
)
scheduler = dict(type="dpm-solver", num_sampling_steps=20, cfg_scale=7.0)

prompt_path = "assets/texts/t2i_samples.txt"
