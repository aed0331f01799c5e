"""The smallest CLIP."""

model = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=32, patch_size=16, width=32, layers=1, head_width=16),
    text_cfg=dict(context_length=16, vocab_size=49408, width=16, heads=1, layers=1),
)
preprocess = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize_mode="longest")
num_steps = 5
batch_size = 8
seed = 42
