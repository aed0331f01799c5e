"""Open-Sora 1.0 that also learns to continue, to lead to and to join given frames."""

_base_ = ["16x256x256.py"]

mask_ratios = dict(
    mask_no=0.7,
    mask_random=0.15,
    mask_head=0.05,
    mask_tail=0.05,
    mask_head_tail=0.05,
)
