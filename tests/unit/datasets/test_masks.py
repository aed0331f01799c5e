import math
import random
from collections import Counter

import pytest

from opensora.core.errors import ConfigError
from opensora.datasets.masks import MaskGenerator

DRAWS = 800


def patterns(mask_ratios, num_frames: int, draws: int = DRAWS) -> Counter[str]:
    masks = MaskGenerator(mask_ratios).get_masks(draws, num_frames, random.Random(7))
    return Counter("".join(map(str, row)) for row in masks.int().tolist())


@pytest.mark.parametrize("version", ["v1.1.0", "v1.2.0"])
def test_every_mask_has_the_patterns_and_shares_of_the_reference(reference, version):
    compared = 0
    for name, lengths in reference("mask_generator")[version].items():
        for num_frames, golden in lengths.items():
            if "patterns" not in golden or golden["patterns"] == {"00": 1.0}:
                continue  # the reference fails, or clears every frame: tests of their own below
            found = patterns({name: 1.0}, int(num_frames))
            if len(golden["patterns"]) < 20:
                assert set(found) == set(golden["patterns"]), (name, num_frames)
            for pattern, share in golden["patterns"].items():
                # the golden share is a mean of 4000 draws, ours of 800
                sigma = math.sqrt(share * (1 - share) * (1 / 4000 + 1 / DRAWS))
                assert found[pattern] / DRAWS == pytest.approx(share, abs=6 * sigma + 1e-9)
                compared += 1
    assert compared > 100


def test_positions_of_the_random_mask_have_the_rates_of_the_reference(reference):
    golden = reference("mask_generator")["v1.2.0"]["random"]["16"]["position_rate"]
    masks = MaskGenerator({"random": 1.0}).get_masks(4000, 16, random.Random(1))
    clean = 1 - masks.float().mean(0)
    assert clean.tolist() == pytest.approx(golden, abs=5 * math.sqrt(2 * 0.25 / 4000))


def test_a_mixture_has_the_probabilities_of_the_formula(reference):
    mixture = reference("mask_generator")["mixture"]
    draws = 20_000
    found = patterns(mixture["mask_ratios"], mixture["T"], draws)
    assert set(found) <= {row[0] for row in mixture["rows"]}
    for pattern, probability, _, _ in mixture["rows"]:
        sigma = math.sqrt(probability * (1 - probability) / draws)
        assert found[pattern] / draws == pytest.approx(probability, abs=5 * sigma)


def test_equal_seeds_give_the_masks_of_the_reference(reference):
    golden = reference("mask_generator")
    stream = golden["python_random_stream"]
    generator = MaskGenerator(golden["mixture"]["mask_ratios"])
    masks = generator.get_masks(64, 16, random.Random(stream["seed"]))
    assert ["".join(map(str, row)) for row in masks.int().tolist()] == stream["masks"]


@pytest.mark.parametrize("num_frames", [2, 3])
@pytest.mark.parametrize("place", ["random", "head", "tail", "head_tail"])
def test_short_clips_keep_one_frame_clean_and_one_noised(place, num_frames):
    # a quarter of 2 or 3 frames is less than one; the reference fails here
    for pattern in patterns({f"mask_quarter_{place}": 1.0}, num_frames, 200):
        assert "0" in pattern
        assert "1" in pattern


def test_both_ends_of_two_frames_leave_one_to_train_on():
    assert set(patterns({"mask_image_head_tail": 1.0}, 2, 50)) == {"01"}


@pytest.mark.parametrize("place", ["random", "head", "tail", "head_tail"])
def test_masks_of_the_configs_of_version_1_0_are_quarters(place):
    assert patterns({f"mask_{place}": 1.0}, 16) == patterns({f"mask_quarter_{place}": 1.0}, 16)
    # not the mask that 1.2 calls "random", which need not be in one piece
    assert patterns({"random": 1.0}, 16) != patterns({"mask_random": 1.0}, 16)


def test_two_names_of_one_mask_add_up():
    generator = MaskGenerator({"quarter_head": 0.25, "mask_head": 0.5})
    assert generator.mask_ratios == {"mask_quarter_head": 0.75, "mask_no": 0.25}


def test_what_no_share_takes_has_no_mask():
    found = patterns({"mask_image_head": 0.25}, 4)
    assert set(found) == {"1111", "0111"}
    assert found["0111"] / DRAWS == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(
    ("mask_ratios", "message"),
    [
        ({"mask_foo": 1.0}, "unknown mask 'mask_foo'; did you mean"),
        ({"mask_quarter_hed": 1.0}, "'mask_quarter_head'"),
        ({"mask_no": 0.2, "mask_image_head": 0.3}, "sum to 0.5"),
        ({"mask_image_head": 0.7, "mask_image_tail": 0.7}, "expected 1"),
        ({"mask_no": 1.5, "mask_image_head": -0.5}, r"in \[0, 1\]"),
        ({"mask_image_head": "half"}, r"in \[0, 1\]"),
        ({"mask_hed": 1.0}, "did you mean 'mask_head'"),
    ],
)
def test_shares_that_can_not_be_meant_are_refused(mask_ratios, message):
    with pytest.raises(ConfigError, match=message):
        MaskGenerator(mask_ratios)


def test_the_caller_s_dict_is_left_alone_and_rounding_is_forgiven():
    shares = {"mask_image_head": 1.0000005}
    MaskGenerator(shares)
    assert shares == {"mask_image_head": 1.0000005}
