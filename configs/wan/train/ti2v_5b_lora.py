"""Wan 2.2 5B, text and image to video: adapters on one card. docs/open_models.md"""

_base_ = ["t2v_1_3b_lora.py"]

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 4 frames
bucket_config = dict(_delete_=True, **{"704x1280": {121: (1.0, 1)}})
fps = 24

model = dict(from_pretrained="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
scheduler = dict(shift=5.0)

mask_ratios = dict(mask_no=0.5, mask_image_head=0.5)  # half of the clips begin with a picture
