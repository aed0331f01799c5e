"""What the training configs of Open-Sora 1.1 share: clips of any size, sorted into buckets."""

_base_ = ["train.py", "t5_train.py"]

dataset = dict(
    type="VariableVideoTextDataset",
    data_path=None,  # --data-path TABLE.csv
    num_frames=None,  # the bucket decides
    frame_interval=3,
    image_size=(None, None),  # the bucket decides
    transform_name="resize_crop",
)
num_bucket_build_workers = 16

model = dict(
    type="STDiT2-XL/2",
    from_pretrained=None,  # --ckpt-path FILE
    input_sq_size=512,  # side of the square whose positions are not stretched
    qk_norm=True,
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
)
vae = dict(micro_batch_size=4, local_files_only=True)
text_encoder = dict(model_max_length=200, local_files_only=True)

ckpt_every = 500
