"""LTX-2, text to video: adapters on one card. docs/open_models.md"""

_base_ = ["ltx2_full.py"]

lora = dict(
    rank=32,
    alpha=32,  # the adapters count alpha / rank
    targets=[
        *("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        *("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"),
    ],
)
lr = 1e-4
plugin = "ddp"
accumulate = 4  # micro batches of a step
