"""DiT's own weights: images of 256 x 256 pixels of the 1000 classes of ImageNet."""

_base_ = ["1x256x256.py"]

model = dict(condition="label_1000", from_pretrained="DiT-XL-2-256x256.pt")
text_encoder = dict(_delete_=True, type="classes", num_classes=1000)
prompt_path = "assets/texts/imagenet_id.txt"
