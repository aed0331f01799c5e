"""STDiT3 on the latents of Wan's autoencoder, as train/wan_vae.py trained it (--ckpt-path)."""

_base_ = ["sample.py"]

num_frames = 49  # 1 + a multiple of 4
model = dict(_delete_=True)  # as its training says
vae = dict(_delete_=True, from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
