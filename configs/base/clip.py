"""CLIP ViT-B/32 gives one vector per text."""

text_encoder = dict(
    type="clip",
    from_pretrained="openai/clip-vit-base-patch32",
    model_max_length=77,
)
