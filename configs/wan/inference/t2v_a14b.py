"""Wan 2.2 A14B: 5 seconds of 480 x 832 pixels, by two transformers one after the other."""

_base_ = ["t2v_1_3b.py"]

model = dict(
    from_pretrained="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
    other="Wan-AI/Wan2.2-T2V-A14B-Diffusers",  # the one that is not the checkpoint
)
vae = dict(from_pretrained="Wan-AI/Wan2.2-T2V-A14B-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.2-T2V-A14B-Diffusers")
scheduler = dict(num_sampling_steps=40, cfg_scale=4.0, cfg_scale_2=3.0)  # of much, of little noise
