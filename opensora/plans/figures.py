"""Plans and forecasts for people: tables on a terminal, bars in an SVG file."""

from collections.abc import Mapping
from typing import Any

from opensora.buckets.aspect import get_resolution
from opensora.buckets.bucket import Bucket
from opensora.config.sources import RATES
from opensora.core.terminal import align, facts, percent, short
from opensora.plans.bars import Panel, bar_chart
from opensora.plans.budget.propose import Measured


def by_length(buckets: Mapping[str, Mapping[str, Any]], *fields: str) -> dict[str, dict[str, Any]]:
    """Add up fields of buckets of one resolution and length, over their aspect ratios.

    Returns:
        By "resolution|frames", small ones first: the sums, and `shapes`, how many aspect ratios
        there are.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name in sorted(buckets, key=_size):
        bucket = buckets[name]
        row = rows.setdefault(name.rpartition("|")[0], dict.fromkeys((*fields, "shapes"), 0))
        row["shapes"] += 1
        for field in fields:
            row[field] += bucket[field]
    return rows


def _size(name: str) -> tuple[int, int]:
    bucket = Bucket.parse(name)
    return get_resolution(bucket.resolution).num_pixels, bucket.num_frames


def _lengths(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a table and a plot of a summary show: clips, batches, tokens and crops."""
    buckets = {
        name: {
            **row,
            "tokens": min(row["batches"] * row["batch_size"], row["samples"])
            * row["tokens_per_sample"],
            "cut": row["cropped"] * row["samples"],
        }
        for name, row in summary["buckets"].items()
    }
    return by_length(buckets, "samples", "batches", "tokens", "cut")


def summary_table(summary: Mapping[str, Any]) -> str:
    """Lay out what `summarize_plan` returned for a terminal, and why clips are missing."""
    rows = [
        (
            name,
            f"{row['shapes']}",
            f"{row['samples']:,}",
            f"{row['batches']:,}",
            short(row["tokens"]),
            percent(row["cut"] / max(row["samples"], 1)),
        )
        for name, row in _lengths(summary).items()
    ]
    text = align(["bucket (first epoch)", "shapes", "clips", "batches", "tokens", "cropped"], rows)
    if summary["dropped"]:
        dropped = [(name, f"{count:,}") for name, count in summary["dropped"].items()]
        text += "\n" + align(["not in a batch", "clips"], dropped)
    if summary.get("sources"):
        text += "\n" + _sources_table(summary["sources"])
    return text + "\n"


def _sources_table(sources: Mapping[str, Mapping[str, Any]]) -> str:
    """Clips and samples of each source, by bucket in the first epoch."""
    lengths = sorted({name for row in sources.values() for name in row["buckets"]})
    lengths.sort(key=lambda name: _size(f"{name}|"))
    rows = []
    for name, row in sources.items():
        given = ", ".join(f"{field} {row[field]:g}" for field in RATES if field in row)
        seen = [f"{row['buckets'].get(length, 0):,}" for length in lengths]
        epoch = f"{row['first_epoch']:,}"
        rows.append((name, given, f"{row['clips']:,}", *seen, epoch, percent(row["share"])))
    header = ["source (first epoch)", "", "clips", *lengths, "samples", "share of all"]
    return align(header, rows)


def plot_summary(summary: Mapping[str, Any]) -> str:
    """Draw clips, batches and tokens of the first epoch; returns the text of an SVG file."""
    rows = _lengths(summary)
    panels = [
        Panel(
            title,
            [row[field] for row in rows.values()],
            [short(row[field]) for row in rows.values()],
        )
        for title, field in (
            ("clips", "samples"),
            ("micro batches", "batches"),
            ("tokens", "tokens"),
        )
    ]
    return bar_chart("First epoch by bucket", list(rows), panels)


def forecast_table(found: Mapping[str, Any]) -> str:
    """Lay out what `forecast` returned for a terminal."""
    fields = ("samples", "cut", "batches", "tokens", "flops", "latent_bytes", "gpu_hours")
    rows = by_length(found["buckets"], *fields)
    needed = dict.fromkeys(rows, 0.0)  # the largest of the aspect ratios
    for bucket, row in found["buckets"].items():
        name = bucket.rpartition("|")[0]
        needed[name] = max(needed[name], row["memory_gb"])
    cells = [[*_forecast_row(name, row), f"{needed[name]:.1f} GB"] for name, row in rows.items()]
    cells.append([*_forecast_row("one epoch", found["epoch"]), f"{found['memory']['gb']:.1f} GB"])
    header = ["bucket", "clips", "batches", "tokens", "FLOP", "latents", "GPU-hours", "cropped"]
    header.append("memory")
    return f"{align(header, cells)}\n{facts(_facts(found))}\n{_disk_table(found['disk'])}\n"


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a forecast says of the whole stage."""
    disk, budget, machine, model = (found[name] for name in ("disk", "budget", "machine", "model"))
    epochs, gpus, hours = budget["needed_epochs"], machine["gpus"], machine["hours"]
    some = spared = ""
    if model["trained"] < model["parameters"] / 2:  # tables are never trained
        some = f", {short(model['trained'])} of them trained"
        spared = ", less the gradients of weights that are not trained"
    return [
        ("model", f"{model['type']}, {short(model['parameters'])} parameters{some}"),
        ("FLOP", f"{model['passes']} forward passes per sample{spared}"),
        ("memory of a GPU", _memory_words(found["memory"], machine["memory"])),
        ("speed", f"{percent(machine['mfu'])} of {machine['peak_tflops']:g} TFLOP/s per GPU"),
        ("micro batch", f"{budget['seconds_per_batch']:.3g} s on one GPU (mean)"),
        (
            f"{epochs:.6g} epochs",
            f"{short(budget['needed_gpu_hours'])} GPU-hours: {budget['needed_hours']:.3g} h on"
            f" {gpus} GPUs",
        ),
        (
            f"{gpus} GPUs, {hours:g} h",
            f"{budget['epochs']:.3g} epochs: {budget['steps']:,.0f} steps,"
            f" {short(budget['samples'])} samples",
        ),
        (
            "latents",
            f"{short(disk['latent_bytes'], 'B')} for {disk['latents']:,.0f} latents of clips at"
            " buckets, all epochs",
        ),
        (
            "embeddings",
            f"{short(disk['embedding_bytes'], 'B')} for {disk['captions']:,} different captions,"
            f" {disk['caption_tokens']:.1f} tokens on average",
        ),
    ]


def _memory_words(memory: Mapping[str, Any], all_of_it: float) -> str:
    words = f"{memory['gb']:.1f} GB at {memory['bucket']}, of {all_of_it:g} GB"
    return f"{words}: does not fit; {memory['advice']}" if memory["advice"] else f"{words}: fits"


def _forecast_row(name: str, row: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{row['samples']:,}",
        f"{row['batches']:,}",
        short(row["tokens"]),
        short(row["flops"]),
        short(row["latent_bytes"], "B"),
        f"{row['gpu_hours']:.3g}",
        percent(row["cut"] / row["samples"]),
    ]


def _disk_table(disk: Mapping[str, Any]) -> str:
    """Disk of a sample beside the reference's, for these clips and for its own example."""
    titles = {
        "clips": f"these clips, {disk['caption_tokens']:.1f} tokens",
        "example": f"64x64x64 latent, {disk['example_tokens']:.1f} tokens",
    }
    rows = []
    for prefix, title in titles.items():
        ours, theirs = disk[f"{prefix}_bytes"], disk[f"{prefix}_reference_bytes"]
        share = percent(disk[f"{prefix}_share"])
        rows.append((title, short(ours, "B"), short(theirs, "B"), share))
    return align(["disk of a sample", "here", "fp32, padded text", "share"], rows)


def plot_forecast(found: Mapping[str, Any]) -> str:
    """Draw tokens, operations, latents and GPU-hours of one epoch as the text of an SVG file."""
    fields = ("tokens", "flops", "latent_bytes", "gpu_hours")
    rows = by_length(found["buckets"], *fields)
    titles = ("tokens", "FLOP", "bytes of latents", "GPU-hours")
    panels = [
        Panel(
            title,
            [row[field] for row in rows.values()],
            [short(row[field]) for row in rows.values()],
        )
        for title, field in zip(titles, fields, strict=True)
    ]
    return bar_chart(f"One epoch of {found['model']['type']} by bucket", list(rows), panels)


def proposal_table(measured: Mapping[str, Measured]) -> str:
    """Lay out what bucket_configs make of the same clips, one below the other."""
    text = ""
    for title, found in measured.items():
        rows = [
            (
                name,
                percent(row["share"]),
                percent(row["crop"]),
                f"{row['tokens']:,.0f}",
                f"{row['batch_size']:.0f}",
            )
            for name, row in found.rows.items()
        ]
        rows.append(("all", percent(found.kept), "", f"{found.tokens:,.0f}", ""))
        text += align([title, "clips kept", "cropped", "tokens a sample", "batch size"], rows)
        text += "\n"
    return text


def plot_proposal(measured: Mapping[str, Measured]) -> str:
    """Draw the share of clips that each bucket keeps; returns the text of an SVG file."""
    rows = [item for found in measured.values() for item in found.rows.items()]
    names = {name for name, row in rows if row["share"]}
    labels = sorted(names, key=lambda name: _size(f"{name}|"))
    panels = []
    for title, found in measured.items():
        shares = [found.rows.get(name, {}).get("share", 0.0) for name in labels]
        values, words = [*shares, found.kept], [percent(share) for share in (*shares, found.kept)]
        panels.append(Panel(f"{title}, {found.tokens:,.0f} tokens", values, words))
    return bar_chart("Clips kept by bucket", [*labels, "all"], panels, top=1.0)
