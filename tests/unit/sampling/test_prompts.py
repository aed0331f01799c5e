"""Prompts and the names and seeds of samples."""

import pytest

from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.sampling.prompts import SampleRequest, prompts_of, read_prompts, requests


def test_a_prompt_file_has_one_prompt_per_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffa red circle\r\n\n  ein gr\u00fcner Kreis \n".encode())
    assert read_prompts(path) == ["a red circle", "ein gr\u00fcner Kreis"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such prompt file"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"a circle\n\xff\xfe", "byte 9 is not UTF-8"),
    ],
)
def test_a_prompt_file_that_can_not_be_used_is_explained(tmp_path, content, words):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as error:
        read_prompts(path)
    assert str(path) in str(error.value)


def test_prompts_of_a_config_come_before_its_file():
    config = {"prompt": ["a", " ", "b "], "prompt_path": "nowhere.txt"}
    assert prompts_of(config) == ["a", "b"]
    assert prompts_of({"prompt": "a"}) == ["a"]
    with pytest.raises(ConfigError, match="set prompt or prompt_path"):
        prompts_of({})
    with pytest.raises(ConfigError, match="prompt is empty"):
        prompts_of({"prompt": [""]})


def test_every_prompt_is_made_k_times_and_a_repeated_one_once():
    made = requests(["a", "b", "a"], 2)
    assert [(r.prompt, r.k) for r in made] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert len({r.id for r in made}) == 4


def test_a_sample_is_named_after_its_prompt():
    one = SampleRequest("A red circle, moving left!", 3)
    assert one.id.startswith("a_red_circle_moving_left_")
    assert one.id.endswith("_003")
    assert SampleRequest("A red circle; moving left?", 3).id != one.id
    assert SampleRequest("\u7ea2\u5706", 0).id.startswith("prompt_")
    assert len(SampleRequest("x" * 500, 0).id) < 64


def test_the_noise_depends_on_seed_prompt_and_k_alone():
    assert SampleRequest("a", 1).noise_seed(7) == derive_seed(7, "noise", "a", 1)


def test_the_text_encoder_receives_the_cleaned_prompt():
    assert SampleRequest("A Red  Circle", 0).clean_prompt == "a red circle"
