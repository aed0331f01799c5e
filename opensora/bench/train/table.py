"""The table of `bench train`, and the sentence that sums it up."""

from collections.abc import Mapping, Sequence

from opensora.bench.train.measure import TrainTiming

_PAIRS = (("all", "reference"), ("all", "fb84f53"), ("zero2", "all"), ("all-512", "reference-512"))
_CPU_PAIRS = (("default", "reference"), ("default", "reference-fp32"), ("default", "fp32"))


def train_table(rows: Sequence[TrainTiming], peak: float | None) -> str:
    """A Markdown table; MFU where the peak (FLOP/s) is known."""
    lines = [
        "| case | what | products in | ms a step (fastest to slowest) | tokens/s | TFLOP/s | MFU"
        " | memory | products | attention | elementwise | idle |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row.flops / row.ms * 1e3
        mfu = "-" if peak is None else f"{rate / peak:.0%}"
        shares = (
            row.shares.products,
            row.shares.attention,
            row.shares.elementwise,
            row.shares.idle,
        )
        lines.append(
            f"| {row.case} | {row.about} | {row.dtype}"
            f" | {row.ms:,.1f} ({row.fastest:,.1f} to {row.slowest:,.1f})"
            f" | {row.tokens / row.ms * 1e3:,.0f} | {rate / 1e12:,.3g} | {mfu}"
            f" | {row.peak_bytes / 1e9:.1f} GB"
            f" | {' | '.join(f'{share:.0%}' for share in shares)} |"
        )
    return "\n".join(lines)


def train_summary(rows: Sequence[TrainTiming]) -> str:
    """How much faster which case is than which, and by how much that spreads over the repeats."""
    by_name = {row.case: row for row in rows}
    found = [
        f"{case} {ratio(by_name[case], by_name[other])} times {other}"
        for case, other in (*_PAIRS, *_CPU_PAIRS)
        if case in by_name and other in by_name
    ]
    return f"{len(rows)} cases" + (f": {', '.join(found)}" if found else "")


def ratio(row: TrainTiming, other: TrainTiming) -> str:
    """Tokens a second of one row over those of another, of the medians and at both ends."""
    scale = row.tokens / other.tokens
    low, high = other.fastest / row.slowest * scale, other.slowest / row.fastest * scale
    return f"{other.ms / row.ms * scale:.2f} ({low:.2f} to {high:.2f})"


def against_table(
    mine: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]
) -> str:
    """Both checkouts by case, ms of each turn, and the ratio of the medians with its ends."""
    lines = ["| case | here, ms | there, ms | times as fast |", "|---|---|---|---|"]
    for case, ours in mine.items():
        others = theirs.get(case, [])
        if not others:
            lines.append(f"| {case} | {_all(ours)} | does not know it | |")
            continue
        low, high = min(others) / max(ours), max(others) / min(ours)
        middle = _median(others) / _median(ours)
        lines.append(
            f"| {case} | {_all(ours)} | {_all(others)} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join(lines)


def _all(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,.1f}" for value in values)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
