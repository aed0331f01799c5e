"""Open-Sora 1.2, from a first frame to a last one: two references a prompt."""

_base_ = ["sample.py"]

# a table with the columns text and reference_path takes their place: --prompt-path mine/prompts.csv
prompt_path = None
prompt = ["The sun sets.", "The sun rises."]
reference_path = [
    "assets/images/condition/sunset1.png;assets/images/condition/sunset2.png",
    "assets/images/condition/sunset2.png;assets/images/condition/sunset1.png",
]
mask_strategy = "0;0,1,0,-1"  # of all prompts with references
