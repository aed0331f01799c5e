"""LTX-Video, image to video: 5 seconds of 512 x 704 pixels that begin with a picture."""

_base_ = ["t2v.py"]

prompt_path = None
prompt = ["A huge wave rolls in and breaks."]
reference_path = ["assets/images/condition/wave.png"]
mask_strategy = "0"  # of all prompts with references
