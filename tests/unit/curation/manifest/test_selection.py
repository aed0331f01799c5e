import pandas as pd
import pytest

from opensora.core.errors import ConfigError
from opensora.curation.manifest.selection import Selection, select

A, B = "f0" * 12, "0f" * 12
NEAR_A = "f1" + "f0" * 11  # one bit from A


def clips() -> pd.DataFrame:
    rows = [
        # id, video, aes, hash, licence
        ("a0", "a", 5.0, A, "CC-BY"),
        ("a1", "a", 6.0, B, "CC-BY"),
        ("a2", "a", 4.0, "", "CC-BY"),
        ("b0", "b", 7.0, NEAR_A, "CC0"),
        ("c0", "c", 9.0, "", ""),
    ]
    frame = pd.DataFrame(rows, columns=["id", "video_id", "aes", "phash", "licence"])
    return frame.assign(status="ok", detail="", kind="video", resolution=100, num_frames=8)


def told(selection: Selection) -> dict[str, tuple[str, str]]:
    marked, _ = select(clips(), selection)
    lost = marked[marked["status"] != "ok"]
    return {r["id"]: (r["status"], r["detail"]) for r in lost.to_dict("records")}


def test_a_condition_tells_what_the_clip_was_like() -> None:
    assert told(Selection(keep_if=["aes >= 5 and licence != ''"])) == {
        "a2": (
            "keep_if",
            "aes >= 5 and licence != '' does not hold: aes is 4, licence is 'CC-BY'",
        ),
        "c0": ("keep_if", "aes >= 5 and licence != '' does not hold: aes is 9, licence is ''"),
    }


def test_only_allowed_licences_stay() -> None:
    assert told(Selection(licences=["CC-BY"])) == {
        "b0": ("licence_not_allowed", "the licence 'CC0' is not among the allowed"),
        "c0": ("licence_not_allowed", "no licence is known"),
    }


def test_the_best_of_near_duplicates_stays_and_a_rejected_clip_displaces_nobody() -> None:
    best = told(Selection(max_distance=1, prefer="aes"))
    assert best == {"a0": ("near_duplicate", "looks like b0, which is kept")}
    # without a score the first id of equal pictures stays
    assert told(Selection(max_distance=1)) == {
        "b0": ("near_duplicate", "looks like a0, which is kept")
    }
    limited = told(Selection(filters={"aes": {"max": 6.5}}, max_distance=1, prefer="aes"))
    assert set(limited) == {"b0", "c0"}
    assert limited["b0"][0] == "aes_too_high"


def test_groups_tie_the_sources_of_duplicates() -> None:
    _, groups = select(clips(), Selection(max_distance=1))
    assert groups.tolist() == [0, 1, 2, 0, 4]


def test_a_cap_keeps_the_preferred_clips_of_a_source() -> None:
    assert told(Selection(max_clips_per_source=2, prefer="aes")) == {
        "a2": ("source_cap", "its source has more than 2 clips; this is number 3")
    }


def test_rules_without_their_column_are_refused() -> None:
    with pytest.raises(ConfigError, match="add the scorer 'phash'"):
        select(clips().drop(columns="phash"), Selection(max_distance=1))
    with pytest.raises(ConfigError, match="no number column 'phash'"):
        select(clips(), Selection(max_distance=1, prefer="phash"))
    with pytest.raises(ConfigError, match="at least 1"):
        Selection(max_clips_per_source=0)
