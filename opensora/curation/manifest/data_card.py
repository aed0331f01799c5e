"""The data card: what a data set holds, where it came from and how it was chosen, in Markdown."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from opensora.curation.manifest.selection import Selection
from opensora.tables.checks import VALIDATION
from opensora.tables.columns import COST, LICENCE, NUM_CAPTIONS, SOURCE_NAME, TOKENS

_BINS = 10
_SIGNS = "·▁▂▃▄▅▆▇█"
_SHOWN_SCORES = 20  # columns of the table of scores


def data_card(
    manifest: pd.DataFrame, funnel: Mapping[str, Any], selection: Selection, scorers: Iterable[str]
) -> str:
    """Describe a manifest.

    Args:
        manifest: a MANIFEST table.
        funnel: content of funnel.json.
        selection: the rules that made it.
        scorers: name and version of each scorer that was run.
    """
    sections = [
        "# Data card\n",
        _size(manifest) + _replies(funnel.get("replies")) + _corrections(funnel.get("corrections")),
        *_sources(manifest),
        _table("Splits", ["split", "clips", "footage", "sources"], _per(manifest, "split")),
        _table("Licences", ["licence", "clips", "footage", "sources"], _per(manifest, LICENCE)),
        _table("Stages", ["stage", "rows in", "kept", "footage kept"], _stages(funnel)),
        _table("Lost", ["stage", "reason", "rows", "footage"], _losses(funnel)),
        _table("Rules", ["rule", "value"], _rules(selection, scorers)),
        _table(
            "Columns", ["column", "5 %", "median", "95 %", "from least to most"], _spread(manifest)
        ),
    ]
    return "\n".join(sections)


def _size(manifest: pd.DataFrame) -> str:
    images = int((manifest["num_frames"] == 1).sum())
    several = f", {int(manifest[NUM_CAPTIONS].sum())} captions" if NUM_CAPTIONS in manifest else ""
    return (
        f"{len(manifest) - images} video clips and {images} images{several},"
        f" {_footage(manifest)} of footage from {manifest['source'].nunique()} sources.\n"
    )


def _sources(manifest: pd.DataFrame) -> list[str]:
    """The sources of a run that has several."""
    if SOURCE_NAME not in manifest:
        return []
    header = ["source", "clips", "footage", "videos", "validation"]
    held_out = (manifest["split"] == VALIDATION).groupby(manifest[SOURCE_NAME]).sum()
    rows = [[*row, str(int(held_out[row[0]]))] for row in _per(manifest, SOURCE_NAME)]
    return [_table("Sources", header, rows)]


def _replies(replies: Mapping[str, float] | None) -> str:
    """What captions of a server took, whenever they were made."""
    if replies is None:
        return ""
    cost = f", at a cost of {replies[COST]:.2f}" if COST in replies else ""
    asked, written = (replies[name] for name in TOKENS)
    return (
        f"\nCaptions of a server took {asked:,} tokens of requests and {written:,} of"
        f" replies{cost}.\n"
    )


def _corrections(counts: Mapping[str, Any] | None) -> str:
    """What a person corrected, of which kind."""
    if counts is None:
        return ""
    unknown = f", {len(counts['unknown'])} of clips that are not here" if counts["unknown"] else ""
    return (
        f"\nCorrected by hand: {counts['captions']} captions, {counts['out']} clips marked"
        f" out{unknown}.\n"
    )


def _per(manifest: pd.DataFrame, column: str) -> list[list[str]]:
    if column not in manifest:
        return []
    return [
        [
            str(name) or "unknown",
            str(len(rows)),
            _footage(rows),
            str(rows["source"].nunique()),
        ]
        for name, rows in manifest.groupby(column, sort=True)
    ]


def _footage(rows: pd.DataFrame) -> str:
    return _duration(float((rows["end"] - rows["start"]).clip(lower=0).sum()))


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _stages(funnel: Mapping[str, Any]) -> list[list[str]]:
    return [
        [s["stage"], str(s["rows_in"]), str(s["rows_kept"]), _duration(s["seconds_kept"])]
        for s in funnel["stages"]
    ]


def _losses(funnel: Mapping[str, Any]) -> list[list[str]]:
    """Why rows left, stage by stage; each of them stands in the table of rejected rows."""
    rows = [
        [stage["stage"], reason, f"{lost['rows']:,}", _duration(lost["seconds"])]
        for stage in funnel["stages"]
        for reason, lost in stage["reasons"].items()
    ]
    captions = funnel.get("captions", {"reasons": {}})["reasons"]
    return [*rows, *(["captions", reason, f"{n:,}", ""] for reason, n in captions.items())]


def _rules(selection: Selection, scorers: Iterable[str]) -> list[list[str]]:
    given = asdict(selection)
    of_sources = given.pop("of_sources")
    rules = [[name, f"`{value}`"] for name, value in given.items() if value]
    for source, own in sorted(of_sources.items()):
        rules += [[f"{name} of {source}", f"`{value}`"] for name, value in own.items() if value]
    return [*rules, ["scorers", ", ".join(sorted(scorers))]]


def _spread(manifest: pd.DataFrame) -> list[list[str]]:
    numbers = manifest.select_dtypes("number").drop(columns=["start", "end"])
    quantiles = numbers.quantile([0.05, 0.5, 0.95]).T.head(_SHOWN_SCORES)
    return [
        [str(name), *(f"{value:.4g}" for value in row), _bars(numbers[name])]
        for name, row in zip(quantiles.index, quantiles.to_numpy(), strict=True)
    ]


def _bars(values: pd.Series) -> str:
    """A histogram as a row of signs: ten equal steps from the least value to the most."""
    known = values.dropna().astype("float64")
    known = known[np.isfinite(known)]
    if known.empty or known.min() == known.max():
        return ""
    counts, _ = np.histogram(known, bins=_BINS)
    levels = np.ceil(counts / counts.max() * (len(_SIGNS) - 1)).astype(int)  # 0 is none at all
    return "".join(_SIGNS[level] for level in levels)


def _table(title: str, header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return f"## {title}\n\nnone\n"
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *cells]]
    return f"## {title}\n\n" + "\n".join(lines) + "\n"
