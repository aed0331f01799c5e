"""Open-Sora 1.0: 16 frames of 512 x 512 pixels."""

_base_ = ["16x256x256.py"]

dataset = dict(image_size=(512, 512))
model = dict(space_scale=1.0, from_pretrained=None)
vae = dict(micro_batch_size=128)
ckpt_every = 500
