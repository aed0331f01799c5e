import pytest

from opensora.buckets.bucket_config import SearchRange, parse_bucket_config
from opensora.core.errors import ConfigError


def only_rule(entry, *, frames=16, ranges=False):
    (rule,) = parse_bucket_config({"32px": {frames: entry}}, ranges=ranges)
    return rule


def test_a_length_given_as_text_replaces_the_same_number():
    rules = parse_bucket_config({"32px": {16: (1.0, 2), "16": (0.5, 4)}})
    assert [(rule.num_frames, rule.keep_prob, rule.batch_size) for rule in rules] == [(16, 0.5, 4)]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ((0.5, 4), (0.5, 1.0, 4)),
        ([0.5, 4], (0.5, 1.0, 4)),
        ((0.0, None), (0.0, 1.0, None)),
        (((0.8, 0.3), 4), (0.8, 0.3, 4)),
        ((1, 1), (1.0, 1.0, 1)),  # a probability, not a range
    ],
)
def test_every_form_of_the_reference_is_read(entry, expected):
    rule = only_rule(entry)
    assert (rule.keep_prob, rule.frames_prob, rule.batch_size) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ((0.5, (2, 8)), (0.5, SearchRange(2, 8, 1))),
        ((0.5, (8,)), (0.5, SearchRange(1, 8, 1))),
        ((0.5, [2, 8, 3]), (0.5, SearchRange(2, 8, 3))),
        ((0.5, (1, 1)), (0.5, SearchRange(1, 1, 1))),
        ((20, 40), (1.0, SearchRange(20, 40, 1))),
    ],
)
def test_search_ranges_are_read_where_they_are_wanted(entry, expected):
    rule = only_rule(entry, ranges=True)
    assert (rule.keep_prob, rule.search) == expected
    assert rule.batch_size is None
    with pytest.raises(ConfigError, match=r"\('32px', 16\).*is a range, \(\d+, \d+\); run"):
        only_rule(entry)


def test_an_exact_size_is_a_resolution_sorted_by_its_area():
    config = {"256x384": {16: (1.0, 2)}, "512": {1: (1.0, 2)}, "144p": {1: (1.0, 2)}}
    names = [rule.resolution for rule in parse_bucket_config(config)]
    assert names == ["512", "256x384", "144p"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "bucket_config is empty"),
        (5, "bucket_config is 5"),
        ({"32px": {}}, "'32px' has {}; expected"),
        ({"32px": 3}, "'32px' has 3; expected"),
        ({"250p": {16: (1.0, 2)}}, r"\('250p', 16\): unknown resolution.*'240p'.*aspect\.py"),
        ({"0x64": {16: (1.0, 2)}}, r"\('0x64', 16\): unknown resolution"),
        ({"32px": {16: (1.5, 2)}}, r"in \[0, 1\]"),
        ({"32px": {16: (float("nan"), 2)}}, r"in \[0, 1\]"),
        ({"32px": {16: (1.0, None)}}, "batch_size is missing"),
        ({"32px": {16: (1.0, 0)}}, "positive integer"),
        ({"32px": {16: (1.0, 2.5)}}, "positive integer, found 2.5"),
        ({"32px": {16: (1.0, True)}}, "positive integer"),
        ({"32px": {16: 1.0}}, "expected num_frames"),
        ({"32px": {16: (1.0, 2, 3)}}, "expected num_frames"),
        ({"32px": {"all": (1.0, 1)}}, "expected num_frames"),
        ({"32px": {0: (1.0, 1)}}, "at least 1"),
        ({"32px": {1: ((1.0, 0.5), 1)}}, "images"),
        ({"32px": {16: (1.0, (8, 2))}}, r"\(8, 2\) is empty, 8 > 2"),
        ({"32px": {16: (1.0, (0, 2))}}, "a range of batch sizes is"),
        ({"32px": {16: (1.0, (1, 2, 3, 4))}}, "a range of batch sizes is"),
        ({"32px": {16: (1.0, ())}}, "a range of batch sizes is"),
    ],
)
def test_a_config_that_can_not_be_meant_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        parse_bucket_config(config, ranges=True)
