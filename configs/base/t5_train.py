"""T5-XXL reads the captions of training."""

text_encoder = dict(
    type="t5",
    from_pretrained="DeepFloyd/t5-v1_1-xxl",
    model_max_length=120,
    shardformer=True,  # RMS norms by torch's own function on CUDA; nothing is sharded
)
