"""STDiT3 on the latents of Wan's autoencoder: 16 channels, a fourth of the frames."""

_base_ = ["../../base/stdit3_train.py"]

# 1 + a multiple of 4 frames
bucket_config = {
    "256": {1: (0.5, 200), 49: (1.0, 16)},
    "480p": {1: (0.3, 60), 49: (0.5, 4), 97: (0.3, 2)},
}
vae = dict(_delete_=True, from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
model = dict(in_channels=16)
