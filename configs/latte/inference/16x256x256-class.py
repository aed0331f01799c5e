"""Latte's own weights: 16 frames of 256 x 256 pixels of the 101 classes of UCF101."""

_base_ = ["16x256x256.py"]

model = dict(condition="label_101", from_pretrained="Latte-XL-2-256x256-ucf101.pt")
text_encoder = dict(_delete_=True, type="classes", num_classes=101)
prompt_path = "assets/texts/ucf101_id.txt"
