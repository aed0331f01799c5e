"""As 16x256x256-mask, with SpeeD's choice and weights of timesteps."""

_base_ = ["16x256x256-mask.py"]

mask_ratios = dict(
    mask_no=0.5,
    mask_random=0.29,
    mask_head=0.07,
    mask_tail=0.07,
    mask_head_tail=0.07,
)
scheduler = dict(type="iddpm-speed")
