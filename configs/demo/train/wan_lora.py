"""Adapters on the demo's Wan, for what its own data lack: a colour. 600 steps of 16 clips."""

_base_ = ["wan_stage2.py"]

bucket_config = dict(_delete_=True, **{"32px": {1: (1.0, 32), 16: (1.0, 16)}})
epochs = 80  # of 8 steps each, of which num_steps takes 75
num_steps = 600
lora = dict(
    rank=16,
    alpha=16,  # the adapters count alpha / rank
    targets=[
        *("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        *("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"),
        *("ffn.net.0.proj", "ffn.net.2"),
    ],
)
optimizer = dict(_delete_=True, type="adamw")
lr = 2e-3
