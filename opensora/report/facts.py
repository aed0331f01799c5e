"""Bucket plans, reconstruction figures and latent checks as pairs and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opensora.report import quantities

_TOTALS = (
    ("clips", "clips"),
    ("samples", "samples seen"),
    ("steps", "optimizer steps"),
    ("epochs", "epochs"),
    ("world_size", "ranks"),
    ("accumulate", "micro batches of a step on each rank"),
    ("tokens", "tokens seen"),
)
_RATES = (("weight", "weight"), ("repeat", "repeat"), ("max_share", "at most a share of"))


@dataclass(frozen=True)
class BucketTable:
    """The plan of one stage: totals, one row per bucket, clips without a bucket, warnings."""

    name: str
    facts: list[tuple[str, str]]
    rows: list[dict[str, Any]]
    dropped: list[tuple[str, int]]
    warnings: list[str]


def bucket_table(name: str, summary: dict[str, Any]) -> BucketTable:
    """Read what `assign-buckets` wrote as its summary."""
    totals = summary.get("totals", {})
    facts = [(label, compact(totals[key])) for key, label in _TOTALS if key in totals]
    rows = []
    for bucket, cell in summary.get("buckets", {}).items():
        resolution, _, ratio = str(bucket).split("|")
        rows.append({**cell, "bucket": bucket, "resolution": resolution, "aspect_ratio": ratio})
        rows[-1]["tokens"] = cell["batches"] * cell["batch_size"] * cell["tokens_per_sample"]
    top = max((row["tokens"] for row in rows), default=0) or 1
    for row in rows:
        row["share"] = row["tokens"] / top
    dropped = sorted(summary.get("dropped", {}).items(), key=lambda item: -item[1])
    return BucketTable(name, facts, rows, dropped, list(summary.get("warnings", [])))


def source_rows(
    summary: dict[str, Any] | None, ledger: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """What each source of a run has of the samples of a stage; none where it has no sources.

    Args:
        summary: of `assign-buckets`.
        ledger: of `settle-plan`, whose samples are those that are trained on; None before it.

    Returns:
        Rows with source, rate (as it was given), clips, samples and share of all samples.
    """
    planned = (summary or {}).get("sources", {})
    settled = (ledger or {}).get("sources", {})
    samples = {name: settled.get(name, row)["samples"] for name, row in planned.items()}
    total = sum(samples.values()) or 1
    return [
        {
            "source": name,
            "rate": ", ".join(f"{word} {row[key]:g}" for key, word in _RATES if key in row),
            "clips": row["clips"],
            "samples": samples[name],
            "share": samples[name] / total,
        }
        for name, row in planned.items()
    ]


def latent_rows(reports: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the gates of all shards: one row per bucket.

    Args:
        reports: shard -> what its gate found.

    Returns:
        Rows with bucket, items, bad_values, low and high (least and largest deviation of a
        channel), psnr (mean in dB over the clips that were decoded; None without any).
    """
    rows: dict[str, dict[str, Any]] = {}
    for report in reports.values():
        for bucket, facts in report.get("buckets", {}).items():
            row = rows.setdefault(
                bucket, {"bucket": bucket, "items": 0, "bad_values": 0, "std": [], "psnr": []}
            )
            row["items"] += facts["items"]
            row["bad_values"] += facts["bad_values"]
            row["std"] += [value for value in facts["std"] if value is not None]
            row["psnr"] += facts.get("psnr", [])
    for row in rows.values():
        deviations, decoded = row.pop("std"), row["psnr"]
        row["low"] = min(deviations, default=None)
        row["high"] = max(deviations, default=None)
        row["psnr"] = sum(decoded) / len(decoded) if decoded else None
    return sorted(rows.values(), key=lambda row: row["bucket"])


def latent_warnings(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences of all gates that warned, each with its shard."""
    return [
        f"{shard}: {sentence}"
        for shard, report in reports.items()
        for sentence in report.get("warnings", [])
    ]


def compact(value: float) -> str:
    """Write a count: large ones with a unit, others in full."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return quantities.number(value)


def psnr_facts(report: dict[str, Any]) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """Read what the training of the VAE measured: label and value pairs, and one row per size."""
    facts = [("measured on", f"{report['split']} clips")] if "split" in report else []
    for key, label in (("mean", "mean of all frames"), ("min", "worst frame")):
        if key in report:
            facts.append((label, quantities.decibels(report[key])))
    return facts, [{"size": size, **row} for size, row in report.get("sizes", {}).items()]
