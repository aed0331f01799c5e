"""A hundred clips of one subject on one card: adapters on the weights of Open-Sora 1.1."""

_base_ = ["../../base/stdit2_train.py"]

# {resolution: {num_frames: (keep probability, samples per GPU)}}
bucket_config = {"240p": {16: (1.0, 2)}, "144p": {16: (1.0, 4)}}
batch_size = None  # the bucket decides

model = dict(from_pretrained="hpcai-tech/OpenSora-STDiT-v2-stage3")  # or --ckpt-path FILE
lora = dict(
    rank=16,
    alpha=16,  # the adapters count alpha / rank
    targets=[
        *("attn.qkv", "attn.proj", "attn_temp.qkv", "attn_temp.proj"),
        *("cross_attn.q_linear", "cross_attn.kv_linear", "cross_attn.proj"),
    ],
    modules_to_save=["scale_shift_table", "scale_shift_table_temporal", "q_norm", "k_norm"],
)

lr = 1e-4
warmup_steps = 50
accumulate = 4  # micro batches of a step
num_steps = 1000
ema_decay = 0.99
plugin = "ddp"
num_workers = 2
ckpt_every = 250
