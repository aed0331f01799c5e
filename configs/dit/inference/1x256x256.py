"""DiT: images of 256 x 256 pixels from text."""

_base_ = ["16x256x256.py"]

num_frames = 1
fps = 1

model = dict(no_temporal_pos_emb=True)
prompt_path = "assets/texts/imagenet_labels.txt"
