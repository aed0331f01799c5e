"""The measurements of models as Markdown."""

from collections.abc import Sequence

from opensora.bench.model import Row
from opensora.bench.model_subjects import Settings


def heading(settings: Settings, machine: str, peak: float | None, source: str) -> str:
    """What was measured, on what, and what the shares refer to."""
    height, width = settings.image_size
    fields = ", ".join(f"{name}={value}" for name, value in settings.model.items())
    parts = [
        f"{settings.num_frames} frames of {height} x {width} pixels",
        f"batch {settings.batch_size}",
        settings.dtype,
        *([fields] if fields else []),
        *(["gradient checkpointing"] if settings.grad_checkpoint else []),
        f"median of {settings.steps} runs",
    ]
    known = "peak" if peak is None else f"peak {peak / 1e9:,.0f} GFLOP/s"
    return f"{machine}. {', '.join(parts)}. {known[0].upper()}{known[1:]}: {source}."


def table(rows: Sequence[Row], peak: float | None) -> str:
    """One line for each measurement; a share of the peak (FLOP/s) where it is known."""
    lines = [
        "| model | parameters | run | pass | ms (fastest to slowest) | tokens/s | GFLOP/s | of peak"
        " | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row.flops / row.seconds
        share = "-" if peak is None else f"{rate / peak:.0%}"
        span = f"{row.fastest * 1e3:,.0f} to {row.slowest * 1e3:,.0f}"
        lines.append(
            f"| `{row.type}` | {row.parameters / 1e6:,.0f} M | {row.mode} | {row.task}"
            f" | {row.seconds * 1e3:,.0f} ({span}) | {row.tokens / row.seconds:,.0f}"
            f" | {rate / 1e9:,.0f} | {share}"
            f" | {row.peak_bytes / 1e9:.2f} GB |"
        )
    return "\n".join(lines)
