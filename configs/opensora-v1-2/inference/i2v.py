"""Open-Sora 1.2, image to video: each reference is the first frame."""

_base_ = ["sample.py"]

# a table with the columns text and reference_path takes their place: --prompt-path mine/prompts.csv
prompt_path = None
prompt = ["A huge wave rolls in and breaks.", "Flight along a rugged cliff above the sea."]
reference_path = ["assets/images/condition/wave.png", "assets/images/condition/cliff.png"]
mask_strategy = "0"  # of all prompts with references
