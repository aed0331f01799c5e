"""Settings of a sampling run."""

from pathlib import Path

import pytest

from opensora.core.errors import ConfigError
from opensora.sampling.settings import SamplingSettings

FIELDS = {"num_frames": 16, "fps": 8, "image_size": [32, 48], "save_dir": "out"}


def test_settings_are_read_from_a_config_and_the_rest_has_defaults():
    settings = SamplingSettings.from_config({**FIELDS, "seed": 7, "prompt": ["a"], "vae": {}})
    assert settings.image_size == (32, 48)
    assert settings.save_dir == Path("out")
    assert (settings.seed, settings.num_samples, settings.display_size) == (7, 1, None)
    assert (settings.total_frames, settings.file_fps) == (16, 8)


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(name):
    fields = {key: value for key, value in FIELDS.items() if key != name}
    with pytest.raises(ConfigError, match=f"no {name}"):
        SamplingSettings.from_config(fields)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_frames", 0, "num_frames is 0"),
        ("num_frames", "many", "num_frames is 'many'"),
        ("batch_size", 1.5, "batch_size is 1.5"),
        ("num_samples", True, "num_samples is True"),
        ("frame_interval", 0, "frame_interval is 0"),
        ("loop", 0, "loop is 0"),
        ("align", 0, "align is 0"),
        ("image_size", 32, "expected .height, width."),
        ("image_size", [32, -1], "image_size.1. is -1"),
        ("fps", 0, "fps is 0"),
        ("seed", "x", "seed is 'x'"),
        ("dtype", "float", "fp32, bf16, fp16"),
        ("display_size", 0, "display_size is 0"),
        ("display_resize", "cubic", "'nearest' or 'lanczos'"),
    ],
)
def test_a_value_that_can_not_work_is_named(field, value, words):
    with pytest.raises(ConfigError, match=words):
        SamplingSettings.from_config({**FIELDS, field: value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"condition_frame_length": 4}, "loop is 1, so it has no effect"),
        ({"loop": 2}, "condition_frame_length is not set"),
        ({"loop": 2, "condition_frame_length": 16}, "from 0 to 15"),
        ({"loop": 2, "condition_frame_length": -1}, "from 0 to 15"),
        ({"loop": 2, "condition_frame_length": 0, "num_frames": 1}, "num_frames is 1"),
    ],
)
def test_loops_that_can_not_work_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        SamplingSettings.from_config({**FIELDS, **changes})


def test_joined_clips_and_the_rate_of_files():
    settings = SamplingSettings.from_config(
        {**FIELDS, "loop": 3, "condition_frame_length": 4, "fps": 24, "frame_interval": 3}
    )
    assert settings.total_frames == 16 + 12 + 12
    assert settings.file_fps == 8
    assert SamplingSettings.from_config({**FIELDS, "fps": 25, "frame_interval": 2}).file_fps == 12.5
