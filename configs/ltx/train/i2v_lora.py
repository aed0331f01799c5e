"""LTX-Video, text and image to video: adapters on one card. docs/open_models.md"""

_base_ = ["t2v_lora.py"]

mask_ratios = dict(mask_no=0.5, mask_image_head=0.5)  # half of the clips begin with a picture
