"""Buckets and captions are judged by sums over all their files."""

import re

import pandas as pd
import pytest

from opensora.precompute.gates import (
    excused,
    join_latent_facts,
    join_text_facts,
    judge_alike,
    judge_latents,
    judge_texts,
    latent_numbers,
    text_numbers,
)

GOOD = {"bad_values": 0, "overall_std": 1.0, "mean": [0.1, -0.2], "std": [0.9, 1.1]}


@pytest.mark.parametrize(
    ("facts", "failure", "warning"),
    [
        ({}, None, None),
        ({"bad_values": 3, "mean": [None]}, "holds 3 NaN or infinite values", None),
        ({"overall_std": 0.0005}, r"is flat \(deviation 0.0005\)", None),
        ({"mean": [0.0, -5.1]}, "has mean -5.1 in channel 1, beyond 5", None),
        ({"std": [5.5, 1.0]}, "has std 5.5 in channel 0, beyond 5", None),
        ({"mean": [5.0, 0.0]}, None, None),
        ({"std": [1.0, 0.0]}, None, r"is flat in channel 1 \(1 of 2 channels\)"),
        ({"psnr": [10.0, 19.9]}, "decodes at 14.9 dB, below 15 dB", None),
        ({"psnr": [10.0, 20.0]}, None, None),
        ({"psnr": []}, None, None),
    ],
)
def test_numbers_are_compared_with_their_limits(facts, failure, warning):
    for expected, found in zip((failure, warning), judge_latents(GOOD | facts, 15.0), strict=True):
        if expected is None:
            assert found is None
        else:
            assert re.fullmatch(expected, found or ""), found


@pytest.mark.parametrize(
    ("facts", "together", "said"),
    [
        ({"items": 1}, [7.0, 30.0], "decodes at 7.0 dB, below 15 dB: its 1 clip show"),
        ({"items": 7}, [7.0, 30.0], "below 15 dB: its 7 clips show"),
        ({"items": 8}, [7.0, 30.0], ""),  # enough of them to tell of the VAE
        ({"items": 1}, [7.0, 20.0], ""),  # nor do the others decode
        ({"items": 1}, [], ""),
        ({"items": 1, "bad_values": 1}, [30.0], ""),
        ({"items": 1, "std": [5.5, 1.0]}, [30.0], ""),
    ],
)
def test_a_few_odd_clips_do_not_condemn_a_vae(facts, together, said):
    found = excused(GOOD | {"psnr": [7.0]} | facts, 15.0, together)
    assert bool(found) == bool(said)
    assert said in found


def part(values: list[float], psnr: float, *, bad: int = 0) -> dict:
    """Facts of one channel of these values, an item."""
    return {
        **{"items": 1, "bad_values": bad, "count": len(values), "spread": [], "threads": 1},
        **{"sum": [sum(values)], "square": [sum(x * x for x in values)], "psnr": [psnr]},
    }


def test_files_are_joined_by_their_sums():
    numbers = latent_numbers(join_latent_facts([part([1.0, 3.0], 20.0), part([5.0], 30.0)]))
    assert numbers["items"] == 2
    assert numbers["mean"] == [3.0]
    assert numbers["std"] == [pytest.approx((8 / 3) ** 0.5, abs=1e-6)]  # of 1, 3 and 5
    assert numbers["overall_std"] == numbers["std"][0]
    assert numbers["psnr"] == [20.0, 30.0]
    assert "posterior_std" not in numbers


def test_what_json_can_not_hold_is_a_bad_value():
    broken = part([1.0], 20.0, bad=2) | {"sum": [None], "square": [None]}
    numbers = latent_numbers(join_latent_facts([broken, part([1.0], 20.0)]))
    assert numbers["mean"] == numbers["std"] == [None]
    assert judge_latents(numbers)[0] == "holds 2 NaN or infinite values"


def texts(**changes) -> dict:
    facts = {
        "captions": 2,
        "tokens": 3,
        "norm": [1.0, 18.0, 12.0],
        "int8": [],
        "cut": [0, 0],
        "threads": 1,
    }
    return facts | {"drift": [0.0, 100.0]} | changes


def test_captions_are_joined_by_their_sums():
    more = texts(norm=[0.5, 2.0, 1.5], tokens=2, drift=[1.0, 300.0], int8=[4.0, 100.0, 0.09])
    numbers = text_numbers(join_text_facts([texts(), more]))
    assert (numbers["captions"], numbers["tokens"]) == (4, 5)
    assert numbers["norm"] == [0.5, 4.0, 12.0]
    assert numbers["drift"] == 0.05  # root of 1 / 400
    assert numbers["int8_error"] == {"relative_rms": 0.2, "worst_token": 0.3}


@pytest.mark.parametrize(
    ("facts", "failure", "warning"),
    [
        ({}, None, None),
        ({"norm": [0.0, 18.0, 12.0]}, "a token vector has length 0, it says nothing", None),
        ({"drift": [1.0, 100.0]}, "equal captions get embeddings that differ by 10.0%", None),
        ({"int8": [1.0, 100.0, 0.1]}, None, "int8 changes the embeddings by 10.0%"),
        ({"int8": [1.0, 100.0, 0.1], "drift": [1.0, 100.0]}, None, "int8 changes the .*"),
    ],
)
def test_captions_that_say_nothing_fail(facts, failure, warning):
    found = judge_texts(text_numbers(join_text_facts([texts(**facts)])), are_labels=False)
    for expected, sentences in zip((failure, warning), found, strict=True):
        assert len(sentences) == (expected is not None)
        assert all(re.fullmatch(expected or "", sentence) for sentence in sentences)


def test_labels_must_be_the_same_again():
    facts = texts(norm=[], drift=[1.0, 1000.0])
    assert judge_texts(text_numbers(join_text_facts([facts])), are_labels=True)[0]


def alike(count: int, others: int, tokens: int = 2) -> pd.DataFrame:
    """Texts of which some have one embedding."""
    names = [f"t{k:03d}" for k in range(count + others)]
    checksums = [0] * count + list(range(1, others + 1))
    return pd.DataFrame({"text": names, "tokens": tokens, "checksum": checksums})


def test_captions_that_can_not_be_told_apart_fail_or_warn():
    failures, warnings, number = judge_alike(alike(2, 1), 4)
    assert failures[0].startswith("2 different captions have the embedding of another one, such as")
    assert "'t000' and 't001'" in failures[0]
    assert (warnings, number) == ([], 2)
    failures, warnings, number = judge_alike(alike(2, 300), 4)
    assert (failures, len(warnings), number) == ([], 1, 2)
    assert judge_alike(alike(2, 1, tokens=4), 4) == ([], [], 0)  # both were cut
    assert judge_alike(alike(1, 2), 4) == ([], [], 0)
