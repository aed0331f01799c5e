"""Wan 2.1 14B, from a first frame to a last one: adapters on one card. docs/open_models.md"""

_base_ = ["t2v_1_3b_lora.py"]

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 4 frames
bucket_config = dict(_delete_=True, **{"720x1280": {81: (1.0, 1)}})

model = dict(from_pretrained="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
scheduler = dict(shift=5.0)
# both frames are stored beside the latents: encode.given and encode.image_encoder of a workflow
