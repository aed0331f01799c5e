import numpy as np
import pandas as pd
import pytest

from opensora.core.errors import ConfigError
from opensora.curation.manifest.filters import apply_filters, check_columns, parse_filters


@pytest.fixture
def clips() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "kind": ["video", "video", "video", "image", "video"],
            "flow": [0.05, 0.1, 3.0, 0.0, np.nan],
            "sharpness": [50.0, 60.0, 5.0, 5.0, 70.0],
            "status": ["ok"] * 5,
            "detail": [""] * 5,
        }
    )


def test_bounds_are_inclusive_and_motion_is_not_asked_of_images(clips: pd.DataFrame) -> None:
    marked = apply_filters(clips, parse_filters({"flow": {"min": 0.1, "max": 3.0}}))
    assert list(marked["status"]) == ["flow_too_low", "ok", "ok", "ok", "flow_missing"]
    assert marked["detail"].iloc[0] == "flow 0.05 is below the minimum 0.1"
    assert list(clips["status"]) == ["ok"] * 5  # the argument stays as it was


def test_the_first_broken_bound_is_the_reason_and_all_are_told(clips: pd.DataFrame) -> None:
    bounds = parse_filters({"sharpness": {"min": 10}, "flow": {"max": 2}})
    marked = apply_filters(clips, bounds)
    assert list(marked["status"]) == [
        *("ok", "ok", "sharpness_too_low", "sharpness_too_low", "flow_missing")
    ]
    assert marked["detail"].iloc[2] == (
        "sharpness 5 is below the minimum 10; flow 3 is above the maximum 2"
    )


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"flow": 0.1}, "expected"),
        ({"flow": {}}, "expected"),
        ({"flow": {"minimum": 1}}, "expected"),
        ({"flow": {"min": "1"}}, "number"),
        ({"flow": {"min": True}}, "number"),
        ({"flow": {"max": 10**400}}, "beyond 64 bits"),
        ({"flow": {"min": 2, "max": 1}}, "above"),
    ],
)
def test_malformed_filters_are_refused(filters: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_filters(filters)


def test_what_is_long_is_not_repeated_and_braces_are_part_of_a_name(clips: pd.DataFrame) -> None:
    for limits in ("x" * 10_000, {"min": "x" * 10_000}):
        with pytest.raises(ConfigError) as error:
            parse_filters({"flow": limits})
        assert len(str(error.value)) < 500
    named = clips.rename(columns={"flow": "{0[0]}"})
    marked = apply_filters(named, parse_filters({"{0[0]}": {"min": 0.1}}))
    assert marked["status"].iloc[0] == "{0[0]}_too_low"
    assert marked["detail"].iloc[0] == "{0[0]} 0.05 is below the minimum 0.1"


@pytest.mark.parametrize("column", ["flaw", "kind"])
def test_a_filter_on_no_number_column_is_refused(clips: pd.DataFrame, column: str) -> None:
    with pytest.raises(ConfigError, match=f"{column}.*known: flow, sharpness"):
        check_columns(parse_filters({column: {"min": 1}}), clips)
