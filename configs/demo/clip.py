"""Demo CLIP: storyboards of 64 pixels (frames of 32), trained from nothing."""

model = dict(
    embed_dim=64,
    # with learned positions the direction of motion is found much later
    vision_cfg=dict(
        image_size=64,
        patch_size=8,
        width=96,
        layers=4,
        head_width=32,
        pool_type="avg",
        pos_embed_type="sin_cos_2d",
    ),
    text_cfg=dict(context_length=24, vocab_size=49408, width=64, heads=2, layers=2),
)
# "longest" keeps the shapes of wide and tall clips and leaves a border
preprocess = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize_mode="longest")
shift_px = 3

num_steps = 300
batch_size = 32
lr = 0.01  # Muon: the matrices of the blocks
adamw_lr = 1e-3  # everything else
seed = 42
