"""SANA-Video 2B: 5 seconds of 480 x 832 pixels, with the steps of its own pipeline."""

num_frames = 81  # 1 + a multiple of 4
fps = 16
image_size = (480, 832)  # height, width: multiples of 32

model = dict(type="diffusers", from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers")
vae = dict(from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers")
text_encoder = dict(
    type="gemma-sana",
    from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
    model_max_length=300,
)
scheduler = dict(type="flow-match", shift=8.0, solver="dpm", num_sampling_steps=50, cfg_scale=6.0)

dtype = "bf16"
batch_size = 1
seed = 42
save_dir = "samples"
prompt_path = "assets/texts/t2v_samples.txt"
