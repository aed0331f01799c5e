"""Which frames of a clip are given to a model that begins with a picture, by name."""

FIRST, FIRST_LAST = "first", "first_last"
GIVEN_FRAMES = (FIRST, FIRST_LAST)
PICTURE_PARTS = ("image_encoder", "image_processor")  # of a pipeline of diffusers
