import pytest

from opensora.report.facts import (
    bucket_table,
    compact,
    latent_rows,
    latent_warnings,
    psnr_facts,
    source_rows,
)


def test_bucket_rows_share_the_tokens_of_the_largest():
    cell = {"samples": 9, "batches": 2, "batch_size": 4, "height": 32, "width": 32}
    summary = {
        "buckets": {
            "32px|16|1.00": {**cell, "num_frames": 16, "tokens_per_sample": 1024},
            "32px|1|1.00": {**cell, "num_frames": 1, "tokens_per_sample": 64},
        },
        "totals": {"clips": 18, "tokens": 2_500_000},
        "dropped": {"too_small": 1, "remainder": 2},
        "warnings": ["mind the gap"],
    }
    table = bucket_table("stage1", summary)
    assert [row["share"] for row in table.rows] == [1.0, pytest.approx(1 / 16)]
    assert table.rows[0]["aspect_ratio"] == "1.00"
    assert table.facts == [("clips", "18"), ("tokens seen", "2.5 M")]
    assert table.dropped == [("remainder", 2), ("too_small", 1)]


def test_gates_of_all_shards_are_joined():
    facts = {"items": 3, "bad_values": 0, "std": [0.9, 1.1], "psnr": [30.0, 34.0]}
    other = {"items": 4, "bad_values": 2, "std": [0.5, None], "psnr": [35.0]}
    warned = {"buckets": {"b": other}, "warnings": ["bucket b is flat in channel 1"]}
    reports = {"0000": {"buckets": {"b": facts}, "warnings": []}, "0001": warned}
    expected = {"bucket": "b", "items": 7, "bad_values": 2, "low": 0.5, "high": 1.1, "psnr": 33.0}
    assert latent_rows(reports) == [expected]
    assert latent_warnings(reports) == ["0001: bucket b is flat in channel 1"]


def test_reconstruction_figures_are_listed_per_size():
    size = {"num_frames": 12, "mean": 34.56, "min": 29.0}
    report = {"split": "validation", "mean": 33.44, "min": 28.0, "sizes": {"32x32": size}}
    facts, rows = psnr_facts(report)
    assert facts == [
        ("measured on", "validation clips"),
        ("mean of all frames", "33.4 dB"),
        ("worst frame", "28.0 dB"),
    ]
    assert rows == [{"size": "32x32", **size}]


def test_large_counts_get_a_unit():
    assert [compact(n) for n in (999_999, 1_250_000, 3e9)] == ["999,999", "1.25 M", "3 G"]


def test_sources_have_the_samples_that_are_trained_on() -> None:
    planned = {
        "web": {"clips": 9, "samples": 30, "weight": 3.0},
        "own": {"clips": 4, "samples": 10, "weight": 1.0},
    }
    assert [row["samples"] for row in source_rows({"sources": planned}, None)] == [30, 10]
    settled = {"web": {"clips": 9, "seconds": 1.0, "samples": 27}}
    web, own = source_rows({"sources": planned}, {"sources": settled})
    assert web == {
        **{"source": "web", "rate": "weight 3", "clips": 9, "samples": 27},
        "share": pytest.approx(27 / 37),
    }
    assert own["samples"] == 10
    assert source_rows({}, {}) == source_rows(None, None) == []
