"""HunyuanVideo 1.5, text to video: adapters on one card. docs/open_models.md"""

_base_ = ["t2v_full.py"]

lora = dict(
    rank=32,
    alpha=32,  # the adapters count alpha / rank
    targets=[
        *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ],
)
lr = 1e-4
plugin = "ddp"
accumulate = 4  # micro batches of a step
