"""HunyuanVideo 1.5: 5 seconds of 480 x 848 pixels, with the steps of its own pipeline."""

num_frames = 121  # 1 + a multiple of 4
fps = 24
image_size = (480, 848)  # height, width: multiples of 16

model = dict(
    type="diffusers", from_pretrained="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v"
)
vae = dict(from_pretrained="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v")
text_encoder = dict(
    type="qwen-hunyuan",
    from_pretrained="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v",
    model_max_length=1256,
)
scheduler = dict(
    type="flow-match", shift=5.0, solver="euler-even", num_sampling_steps=50, cfg_scale=6.0
)

dtype = "bf16"
batch_size = 1
seed = 42
save_dir = "samples"
prompt_path = "assets/texts/t2v_samples.txt"
