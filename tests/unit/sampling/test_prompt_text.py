"""Prompt files, fields behind prompts, prompts that change by loop."""

import json
from pathlib import Path

import pytest

from opensora.core.errors import ConfigError
from opensora.sampling.prompt_text import loop_texts, read_prompts, split_fields
from opensora.text.clean import clean_caption

DATA = Path(__file__).parents[2] / "data" / "reference"
RECORDED = json.loads((DATA / "mask_strategies.json").read_text())["v1.1.0"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_prompt_file_has_one_prompt_per_line(tmp_path, encoding):
    path = tmp_path / "prompts.txt"
    path.write_bytes("a red circle\r\n\n  ein gr\u00fcner Kreis \n".encode(encoding))
    assert read_prompts(path) == ["a red circle", "ein gr\u00fcner Kreis"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such prompt file"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"a circle\n\xff\xfe", "byte 9 is not UTF-8"),
        ("a circle".encode("utf-16-le"), "byte 1 is 0; it looks like UTF-16 without a mark"),
        (b"a circle\0\n", "byte 8 is 0; save it in UTF-8"),
        (b"id,path,text,num_frames\n1,a.mp4,a cat,16\n", "a table .its first line is 'id,path,te"),
        (b'"path"\t"text"\na.mp4\ta cat\n', "a table"),
    ],
)
def test_a_prompt_file_that_can_not_be_used_is_explained(tmp_path, content, words):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as error:
        read_prompts(path)
    assert str(path) in str(error.value)


ODD_BREAKS = ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\x1d", "\x1e"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_breaks_inside_a_prompt_are_blanks_and_ends_of_lines_part_prompts(tmp_path, end):
    lines = [f"prompt {k}, the one half{odd}the other half" for k, odd in enumerate(ODD_BREAKS)]
    path = tmp_path / "prompts.txt"
    path.write_bytes(end.join([*lines, ""]).encode())
    whole = [f"prompt {k}, the one half the other half" for k in range(len(ODD_BREAKS))]
    assert read_prompts(path) == whole


def test_a_prompt_of_nothing_but_breaks_is_none_and_fields_behind_one_stay(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes('\u2028\x0c\na cat,\u2028asleep{"reference_path": "cat.png"}\n'.encode())
    (prompt,) = read_prompts(path)
    assert split_fields(prompt) == ("a cat, asleep", {"reference_path": "cat.png"})


@pytest.mark.parametrize(
    "line",
    [
        *("red, green, blue", "text, in a cave", "a cat, path to glory"),
        *("forest, path, fog", "forest,path,fog", "video, dusk", "path"),
    ],
)
def test_a_prompt_with_commas_is_a_prompt(tmp_path, line):
    path = tmp_path / "prompts.txt"
    path.write_text(line + "\n")
    assert read_prompts(path) == [line]


@pytest.mark.parametrize("case", RECORDED["extract_json"], ids=lambda case: case["prompt"])
def test_fields_behind_a_prompt_are_read_as_recorded(case):
    if "[" in case["prompt"]:  # a list says nothing about a sample: brackets are text here
        assert split_fields(case["prompt"]) == (case["prompt"], {})
    elif "error" in case["result"]:
        with pytest.raises(ConfigError):
            split_fields(case["prompt"])
    else:
        texts, fields = case["result"]
        assert split_fields(case["prompt"]) == (texts[0].strip(), fields[0])


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a {cat} sleeps", "not JSON"),
        ('a cat{"mask": "0"}', "unknown field 'mask'"),
        ('a cat{"mask_strategy": "0"} sleeps', "not JSON .*Extra data"),
    ],
)
def test_fields_that_can_not_be_read_are_refused(prompt, words):
    with pytest.raises(ConfigError, match=words):
        split_fields(prompt)


@pytest.mark.parametrize(
    "case", RECORDED["process_prompts"], ids=lambda case: f"{case['prompts']}x{case['num_loop']}"
)
def test_prompts_change_by_loop_as_recorded(case):
    prompt, loops = case["prompts"][0], case["num_loop"]
    if "error" in case["result"]:
        with pytest.raises(ConfigError, match=f"but loop is {loops}"):
            loop_texts(prompt, loops, clean_caption)
    else:
        assert loop_texts(prompt, loops, clean_caption) == case["result"][0]


@pytest.mark.parametrize("prompt", ["|0|a cat|2", "|0|a cat|two|a dog", "|0|a|b|c|d"])
def test_loop_marks_that_can_not_be_read_are_refused(prompt):
    with pytest.raises(ConfigError, match="loop marks can not be read"):
        loop_texts(prompt, 3, clean_caption)
