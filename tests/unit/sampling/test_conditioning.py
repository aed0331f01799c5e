"""Mask strategies against the reference's recorded results, and what is refused here instead."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.sampling.conditioning import (
    MaskRule,
    apply_strategies,
    check_rules,
    continue_rule,
    parse_mask_strategy,
    place,
    total_frames,
)

DATA = Path(__file__).parents[2] / "data" / "reference"
RECORDED = json.loads((DATA / "mask_strategies.json").read_text())
V11, V12 = RECORDED["v1.1.0"], RECORDED["v1.2.0"]


@pytest.fixture(scope="module")
def arrays():
    with np.load(DATA / "mask_strategies.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def apply_recorded(arrays, case, prefix="", align=None):
    z = arrays[f"{prefix}z"]
    references = []
    for sample in range(len(z)):
        names = sorted(name for name in arrays if name.startswith(f"{prefix}ref/{sample}/"))
        references.append([arrays[name] for name in names])
    strategies = [parse_mask_strategy(text) for text in case["strategies"]]
    before = z.clone()
    result = apply_strategies(z, references, strategies, case["loop_i"], align=align)
    assert torch.equal(z, before)  # the noise itself stays as it was
    return result


def is_whole(text):
    return text.strip().lstrip("-").isdecimal()


@pytest.mark.parametrize("case", V11["parse"], ids=lambda case: case["strategy"] or "empty")
def test_strategies_are_read_as_recorded(case):
    recorded = case["result"]
    if case["strategy"] == "":
        assert parse_mask_strategy("") == parse_mask_strategy(None) == ()  # no rule at all
    elif "error" in recorded or not all(is_whole(f) for rule in recorded for f in rule[:5]):
        with pytest.raises(ConfigError, match="mask_strategy"):
            parse_mask_strategy(case["strategy"])
    else:
        expected = [(*map(int, rule[:5]), float(rule[5])) for rule in recorded]
        assert list(parse_mask_strategy(case["strategy"])) == expected


@pytest.mark.parametrize("case", V12["v12_parse"], ids=lambda case: case["strategy"] or "empty")
def test_strategies_are_read_as_recorded_from_1_2(case):
    parsed = parse_mask_strategy(case["strategy"])
    assert [list(rule) for rule in parsed] == case["result"]


@pytest.mark.parametrize("number", range(len(V11["apply"])))
def test_strategies_are_applied_as_recorded(arrays, number):
    case = V11["apply"][number]
    if case["strategies"][0] == "":  # crashed there; no condition here
        z, mask = apply_recorded(arrays, case)
        assert torch.equal(z, arrays["z"])
        assert (mask == 1).all()
    elif "error" in case:
        with pytest.raises(ConfigError, match="mask_strategy"):
            apply_recorded(arrays, case)
    else:
        z, mask = apply_recorded(arrays, case)
        assert torch.equal(z, arrays[f"{case['key']}/z"])
        assert torch.equal(mask, arrays[f"{case['key']}/mask"])


@pytest.mark.parametrize("number", range(len(V12["v12_apply"])))
def test_strategies_are_aligned_as_recorded(arrays, number):
    case = V12["v12_apply"][number]
    if case["align"] is None and case["strategies"][0] == "0,1,2,3,9":  # cut silently there
        with pytest.raises(ConfigError, match=r"replaces 9|takes 9"):
            apply_recorded(arrays, case, "v12/")
        return
    z, mask = apply_recorded(arrays, case, "v12/", case["align"])
    assert torch.equal(z, arrays[f"{case['key']}/z"])
    assert torch.equal(mask, arrays[f"{case['key']}/mask"])


def test_the_golden_cases_cover_what_they_are_for():
    assert sum("key" in case for case in V11["apply"]) >= 15
    assert sum(case["align"] is not None for case in V12["v12_apply"]) >= 3


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("0,0,5", "reference_start 5 is outside reference 0, which has 5 latent frames"),
        ("0,0,-6", "reference_start -6 is outside"),
        ("0,0,0,8", "start 8 is outside the sample, which has 8"),
        ("0,0,0,-9", "start -9 is outside"),
        ("0,0,3,0,3", "takes 3 latent frames from 3 on, but reference 0 has 2"),
        ("0,0,0,6,3", "replaces 3 latent frames from 6 on, but the sample has 2"),
        ("0,0,4,7,2", "replaces 2 latent frames from 7 on"),
    ],
)
def test_frames_that_are_not_there_are_refused(rule, words):
    with pytest.raises(ConfigError, match=words):
        place(parse_mask_strategy(rule)[0], 5, 8)


@pytest.mark.parametrize(
    ("rule", "frames"),
    [
        ("0", (0, 0, 1)),
        ("0,0,-2,-3,2", (3, 5, 2)),
        ("0,0,4,5,3", (4, 5, 3)),  # one frame is left of the reference: repeated
        ("0,0,0,0,5", (0, 0, 5)),
    ],
)
def test_frames_are_counted_from_either_end(rule, frames):
    assert place(parse_mask_strategy(rule)[0], 5, 8) == frames


@pytest.mark.parametrize(
    ("start", "aligned"), [(0, 0), (2, 0), (3, 4), (6, 4), (7, 8), (10, 8), (11, 8)]
)
def test_aligned_starts_are_the_nearest_multiple_that_leaves_a_step(start, aligned):
    rule = MaskRule(0, 0, start, start, 3)  # of 12 frames, in steps of 4
    assert place(rule, 12, 12, align=4) == (aligned, aligned, 3)


def test_aligned_rules_are_cut_to_what_is_there():
    assert place(MaskRule(0, 0, 0, 4, 9), 20, 8, align=4) == (0, 4, 4)
    assert place(MaskRule(0, 0, 4, 0, 9), 6, 20, align=4) == (4, 0, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,0,0,0,0", "length of rule '0,0,0,0,0' is not at least 1"),
        ("0,0,0,0,1,1.5", "edit_ratio of rule '0,0,0,0,1,1.5' is not in"),
        ("0,0,0,0,1,nan", "edit_ratio"),
        ("0;", "loop of rule '' is ''; expected a whole number"),
        ("0,a", "reference of rule '0,a' is 'a'"),
        ("0,0,0,0,1,x", "edit_ratio of rule '0,0,0,0,1,x' is 'x'; expected a number"),
        ("0,0,0,0,1,0,9", "7 fields; expected at most 6"),
    ],
)
def test_rules_that_can_not_be_meant_are_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_mask_strategy(text)


@pytest.mark.parametrize(
    ("text", "references", "loops", "words"),
    [
        ("0,1", 1, 1, "no reference 1; the prompt has 1"),
        ("0,-2", 1, 1, "no reference -2"),
        ("1", 1, 1, "no loop 1; loop is 1"),
        ("-1", 1, 1, "no loop -1"),
        ("0", 2, 1, "uses reference 1 of reference_path"),
    ],
)
def test_rules_without_their_reference_or_loop_are_refused(text, references, loops, words):
    with pytest.raises(ConfigError, match=words):
        check_rules(parse_mask_strategy(text), references, loops)


def test_rules_that_use_every_reference_are_accepted():
    checked = check_rules(parse_mask_strategy("0;1,-1,-2,0,2,0.5"), 2, 2)
    assert checked == parse_mask_strategy("0;1,1,-2,0,2,0.5")  # the last of two, whatever follows


def test_a_rule_is_written_as_it_is_read():
    text = "0,1,-2,3,4,0.25"
    assert str(parse_mask_strategy(text)[0]) == text
    assert str(MaskRule(2)) == "2,0,0,0,1,0"


def test_a_further_loop_begins_with_the_end_of_the_last_clip():
    assert (
        "{loop_i},{number_of_refs_after_append - 1},-{condition_frame_length},0,"
        in (V11["loop_strategy_string"]["formula"])
    )
    loop, number_of_refs, length = 2, 3, 4
    text = f"{loop},{number_of_refs - 1},-{length},0,{length}"
    assert parse_mask_strategy(text) == (continue_rule(loop, number_of_refs - 1, length),)


@pytest.mark.parametrize("case", V11["total_frames"]["cases"])
def test_joined_clips_have_the_recorded_length(case):
    sizes = [case[name] for name in ("num_frames", "loop", "condition_frame_length")]
    assert total_frames(*sizes) == case["total"]
