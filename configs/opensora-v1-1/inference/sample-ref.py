"""Open-Sora 1.1 with references: long videos, animated images, frames in between.

A prompt may carry its own settings as JSON at its end.
"""

_base_ = ["sample.py"]

prompt_path = None
prompt = [
    "A car driving on the ocean.",
    (
        "Drone view of waves crashing against the rugged cliffs along Big Sur's garay point "
        "beach. The crashing blue waters create white-tipped waves, while the golden light of "
        "the setting sun illuminates the rocky shore. A small island with a lighthouse sits in "
        "the distance, and green shrubbery covers the cliff's edge. The steep drop from the road "
        "down to the beach is a dramatic feat, with the cliff's edges jutting out over the sea. "
        "This is a view that captures the raw beauty of the coast and the rugged landscape of "
        'the Pacific Coast Highway.{"reference_path": "assets/images/condition/cliff.png", '
        '"mask_strategy": "0"}'
    ),
    (
        "In an ornate, historical hall, a massive tidal wave peaks and begins to crash. Two "
        "surfers, seizing the moment, skillfully navigate the face of the wave."
    ),
]

loop = 2  # the second round continues the first
condition_frame_length = 4  # frames of a round that the next one is given
# per prompt: round, reference, its first frame, place in the video, frames, share of noise
mask_strategy = ["0,0,0,0,8,0.3", None, "0"]
reference_path = [
    "assets/videos/coast-road.mp4",
    None,
    "assets/images/condition/wave.png",
]
