"""The types of text encoders that read captions. Nothing here loads torch."""

# tokens of a text where nothing else is asked for: the encoders' own defaults
TRAINED_LENGTHS = {"t5": 120, "clip": 77, "umt5": 512}  # a run trains one where none is given
GIVEN_LENGTHS = {
    "t5-ltx": 128,
    "t5-cogvideox": 226,
    "qwen-hunyuan": 1256,
    "gemma-sana": 300,
    "gemma-ltx2": 1024,
}
TEXT_LENGTHS = {**TRAINED_LENGTHS, **GIVEN_LENGTHS}
TEXT_TYPES = (*TEXT_LENGTHS, "classes")
LENGTHS_IN_WORDS = ", ".join(f"{kind} {length}" for kind, length in TEXT_LENGTHS.items())

# network and tokenizer in a pipeline of diffusers, and the second ones of those that have two; that
# of LTX-2 reads what the first one made
TEXT_PARTS = ("text_encoder", "tokenizer")
SECOND_PARTS = {
    "qwen-hunyuan": ("text_encoder_2", "tokenizer_2"),
    "gemma-ltx2": ("connectors", "connectors"),
}
