"""PixArt trained on videos: 16 frames of 256 x 256 pixels."""

_base_ = ["../../base/inference.py", "../../base/t5.py"]

num_frames = 16
fps = 8
image_size = (256, 256)

model = dict(
    type="PixArt-XL/2",
    space_scale=0.5,
    time_scale=1.0,
    from_pretrained="outputs/098-F16S3-PixArt-XL-2/epoch7-global_step30000/model_ckpt.pt",
)
scheduler = dict(type="dpm-solver", num_sampling_steps=20, cfg_scale=7.0)

prompt_path = "assets/texts/t2v_samples.txt"
