"""Demo stage 1 straight from the clips: nothing is encoded ahead of training."""

_base_ = ["stage1.py"]

dataset = dict(
    type="VariableVideoTextDataset",
    data_path="results/demo/manifest",
    transform_name="resize_crop",
)
vae = dict(type="VideoAutoencoderKL", from_pretrained="results/demo/models/vae")
text_encoder = dict(
    type="t5", from_pretrained="results/demo/models/text_encoder", model_max_length=64
)
posterior = "mean"  # as the demo's stores
num_workers = 2  # batches read ahead, each by a thread of its own
outputs = "results/demo/train/online"
eval_every = None  # nothing is encoded for it
