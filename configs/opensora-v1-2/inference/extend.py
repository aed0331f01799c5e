"""Open-Sora 1.2, videos that go on: the last 17 frames of each reference are the first ones."""

_base_ = ["sample.py"]

# a table with the columns text and reference_path takes their place: --prompt-path mine/prompts.csv
prompt_path = None
prompt = ["A coast road in the sun.", "A coast road. Rain begins to fall."]
reference_path = ["assets/videos/coast-road.mp4", "assets/videos/coast-road.mp4"]
mask_strategy = "0,0,-5,0,5"  # of all prompts with references
align = 5  # latent frames of the 17 that the autoencoder encodes together
