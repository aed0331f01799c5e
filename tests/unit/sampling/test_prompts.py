"""Prompts with what conditions them, and the names and seeds of samples."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensora.core.errors import ConfigError
from opensora.core.io import sha256_file
from opensora.core.seed import derive_seed
from opensora.sampling.conditioning import MaskRule
from opensora.sampling.prompts import Prompt, SampleRequest, prompts_of, requests
from opensora.sampling.references import Reference
from opensora.sampling.settings import SamplingSettings

SIZES = {"num_frames": 4, "fps": 8, "image_size": (16, 16)}
REFERENCE = Reference("a.png", Path("a.png"), "0" * 64)


@pytest.fixture
def settings(tmp_path):
    return SamplingSettings(**SIZES, save_dir=tmp_path / "samples")


@pytest.fixture
def images(tmp_path):
    """Two files to take frames from."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for level, path in enumerate(paths):
        Image.fromarray(np.full((4, 4, 3), 90 * level, np.uint8)).save(path)
    return [str(path) for path in paths]


def test_a_table_gives_each_prompt_its_references(settings, tmp_path, images):
    path = tmp_path / "prompts.csv"
    path.write_text(
        f"text,reference_path,mask_strategy\na cat,{images[0]},0\n"
        f'"a dog, asleep",{images[0]};{images[1]},"0;0,1,0,-1"\na bird,,\n'
    )
    others = {"reference_path": [images[1]] * 3, "mask_strategy": ["0,0,0,-1"] * 3}
    for more in ({}, others):
        one, two, three = prompts_of({"prompt_path": str(path), **more}, settings)
        assert (one.text, one.rules) == ("a cat", (MaskRule(0),))
        assert [reference.name for reference in one.references] == images[:1]
        assert (two.text, two.rules) == ("a dog, asleep", (MaskRule(0), MaskRule(0, 1, 0, -1)))
        assert [reference.name for reference in two.references] == images
        assert three == Prompt("a bird")


def test_a_single_strategy_is_that_of_all_prompts_with_references(settings, tmp_path, images):
    path = tmp_path / "prompts.csv"
    path.write_text(
        f"text,reference_path,mask_strategy\na cat,{images[0]},\na bird,,\n"
        f'a dog,{images[1]},"0,0,0,3"\n'
    )
    one, two, three = prompts_of({"prompt_path": str(path), "mask_strategy": ["0"]}, settings)
    assert [one.rules, two.rules] == [(MaskRule(0),), ()]
    assert three.rules == (MaskRule(0, 0, 0, 3),)
    text = f'a cat{{"reference_path": "{images[1]}"}}'
    config = {"prompt": [text, "b", "c"], "reference_path": [None, images[0]], "mask_strategy": 0}
    assert [prompt.rules for prompt in prompts_of(config, settings)] == [*[(MaskRule(0),)] * 2, ()]
    with pytest.raises(ConfigError, match="no effect without a reference_path"):
        prompts_of({"prompt": ["a"], "mask_strategy": "0"}, settings)


def test_the_prompts_of_a_config_are_its_list_or_the_lines_of_its_file(settings, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("c\nd\n")
    assert prompts_of({"prompt": ["a", " ", "b "]}, settings) == [Prompt("a"), Prompt("b")]
    assert prompts_of({"prompt": "a"}, settings) == [Prompt("a")]
    assert prompts_of({"prompt": (207, 3)}, settings) == [Prompt("207"), Prompt("3")]
    assert prompts_of({"prompt_path": str(path)}, settings) == [Prompt("c"), Prompt("d")]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "set prompt or prompt_path"),
        ({"prompt": [""]}, "prompt is empty"),
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": ["a"], "prompt_path": "b.txt"}, "both set"),
    ],
)
def test_a_config_without_clear_prompts_is_refused(settings, config, words):
    with pytest.raises(ConfigError, match=words):
        prompts_of(config, settings)


def test_references_and_strategies_belong_to_the_prompts_in_order(settings, images):
    config = {
        "prompt": ["a", "b", "c"],
        "reference_path": [images[0], None, f"{images[1]};{images[0]}"],
        "mask_strategy": ["0", None, "0,1,0,-1;0,0,0,0,2,0.5"],
    }
    a, b, c = prompts_of(config, settings)
    assert a.rules == (MaskRule(0),)
    assert a.references[0].sha256 == sha256_file(images[0])
    assert b == Prompt("b")
    assert [r.name for r in c.references] == [images[1], images[0]]
    assert c.mask_strategy == "0,1,0,-1,1,0;0,0,0,0,2,0.5"


def test_fields_behind_a_prompt_replace_those_of_the_config(settings, images):
    text = f'a cat{{"reference_path": "{images[1]}", "mask_strategy": "0,0,0,3"}}'
    config = {"prompt": [text], "reference_path": [images[0]], "mask_strategy": ["0"]}
    (prompt,) = prompts_of(config, settings)
    assert prompt.text == "a cat"
    assert prompt.references[0].name == images[1]
    assert prompt.rules == (MaskRule(0, start=3),)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mask_strategy": ["0"]}, "mask_strategy has no effect without a reference"),
        ({"reference_path": ["{0}"]}, "reference_path has no effect without a mask_strategy"),
        ({"reference_path": ["{0}"], "mask_strategy": [""]}, "no effect without a mask_strategy"),
        ({"mask_strategy": [None, None, "0"]}, "mask_strategy has 3 entries for 2 prompts"),
        ({"reference_path": [None] * 3}, "reference_path has 3 entries for 2 prompts"),
        ({"reference_path": ["none.png"], "mask_strategy": ["0"]}, "'none.png': no such file"),
        ({"reference_path": ["{0};{1}"], "mask_strategy": ["0"]}, "uses reference 1"),
        ({"reference_path": ["{0}"], "mask_strategy": ["1"]}, "there is no loop 1"),
        ({"reference_path": ["{0}"], "mask_strategy": ["0,1"]}, "there is no reference 1"),
        ({"reference_path": ["{0}"], "mask_strategy": ["0,x"]}, "expected a whole number"),
    ],
)
def test_conditions_without_effect_or_sense_are_refused(settings, images, fields, words):
    filled = {
        name: [entry and entry.format(*images) for entry in entries]
        for name, entries in fields.items()
    }
    with pytest.raises(ConfigError, match=words):
        prompts_of({"prompt": ["a", "b"], **filled}, settings)


def test_an_alignment_without_a_strategy_is_refused(tmp_path):
    settings = SamplingSettings(**SIZES, save_dir=tmp_path, align=5)
    with pytest.raises(ConfigError, match="align has no effect"):
        prompts_of({"prompt": ["a"]}, settings)


def test_every_prompt_is_made_k_times_and_a_repeated_one_once():
    made = requests([Prompt("a"), Prompt("b"), Prompt("a")], 2)
    assert [(r.prompt.text, r.k) for r in made] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert len({r.id for r in made}) == 4


def test_a_sample_is_named_after_its_prompt():
    one = SampleRequest(Prompt("A red circle, moving left!"), 3)
    digest = hashlib.sha256(b"A red circle, moving left!").hexdigest()[:8]
    assert one.id == f"a_red_circle_moving_left_{digest}_003"
    assert SampleRequest(Prompt("A red circle; moving left?"), 3).id != one.id
    assert SampleRequest(Prompt("\u7ea2\u5706"), 0).id.startswith("prompt_")
    assert len(SampleRequest(Prompt("x" * 500), 0).id) < 64


def test_another_reference_or_strategy_is_another_sample_of_the_same_noise():
    plain = SampleRequest(Prompt("a"), 0)
    kept = SampleRequest(Prompt("a", (REFERENCE,), (MaskRule(0),)), 0)
    moved = SampleRequest(Prompt("a", (REFERENCE,), (MaskRule(0, start=2),)), 0)
    other = Reference("a.png", Path("a.png"), "1" * 64)  # other content under the same name
    changed = SampleRequest(Prompt("a", (other,), (MaskRule(0),)), 0)
    assert len({request.id for request in (plain, kept, moved, changed)}) == 4
    assert len({request.noise_seed(7) for request in (plain, kept, moved, changed)}) == 1


def test_the_noise_depends_on_seed_prompt_and_k_alone():
    assert SampleRequest(Prompt("a"), 1).noise_seed(7) == derive_seed(7, "noise", "a", 1)


def test_frames_are_given_in_the_loops_of_the_rules_and_after_every_join(tmp_path):
    sizes = {**SIZES, "save_dir": tmp_path}
    kept = SampleRequest(Prompt("a", (REFERENCE,), (MaskRule(1),)), 0)
    apart = SamplingSettings(**sizes, loop=3, condition_frame_length=0)
    joined = SamplingSettings(**sizes, loop=3, condition_frame_length=2)
    assert kept.masked_loops(apart) == (False, True, False)
    assert kept.masked_loops(joined) == (False, True, True)
    assert SampleRequest(Prompt("a"), 0).masked_loops(SamplingSettings(**sizes)) == (False,)


def test_a_brace_in_one_prompt_of_a_file_costs_that_prompt(settings, tmp_path, caplog):
    path = tmp_path / "prompts.txt"
    path.write_text("a {red ball\na dog\n" + "x" * 5_001 + "\n")
    assert prompts_of({"prompt_path": str(path)}, settings) == [Prompt("a dog")]
    assert "prompt 1 ('a {red ball')" in caplog.text
    assert "5001 characters" in caplog.text


def test_a_file_without_a_good_prompt_is_refused(settings, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a {red ball\n")
    with pytest.raises(ConfigError, match="prompt 1"):
        prompts_of({"prompt_path": str(path)}, settings)
