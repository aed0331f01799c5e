"""What the training configs of Open-Sora 1.2 share: its autoencoder along time, rectified flow."""

_base_ = ["train.py", "t5_train.py"]

dataset = dict(type="VariableVideoTextDataset", transform_name="resize_crop")
num_frames = None  # the bucket decides
num_bucket_build_workers = 16
num_workers = 8
batch_size = None

model = dict(
    type="STDiT3-XL/2",
    from_pretrained=None,  # --ckpt-path FILE
    qk_norm=True,
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
    freeze_y_embedder=True,
)
vae = dict(
    _delete_=True,
    type="OpenSoraVAE_V1_2",
    from_pretrained="hpcai-tech/OpenSora-VAE-v1.2",
    micro_frame_size=17,
    micro_batch_size=4,
)
text_encoder = dict(model_max_length=300, local_files_only=True)
scheduler = dict(
    _delete_=True, type="rflow", use_timestep_transform=True, sample_method="logit-normal"
)

lr = 1e-4
optimizer = dict(type="adamw", eps=1e-15)
ema_decay = 0.99
warmup_steps = 1000
ckpt_every = 200
