"""Reports of runs of different sizes: time to write, to open and to filter, and their bytes."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from opensora.bench.report.browser import browser, samples_in, seconds_to_filter, seconds_to_open
from opensora.bench.report.folder import make_run

FEW_CLIPS, FEW_SAMPLES = 100, 10
_MEGABYTE = 1_000_000
# steps of the filter, the last of which takes one back
_STEPS: dict[str, list[dict[str, str | None]]] = {
    "gallery": [{"q": "red"}, {"q": "blue"}, {"q": "circle"}, {"q": None}],
    "curation": [{"low.flow": "0.5"}, {"q": "red"}, {"low.flow": "1.0"}, {"low.flow": None}],
}
# writes the report of a run folder into a file
Write = Callable[[Path, Path], object]


@dataclass(frozen=True)
class Timing:
    """One report.

    Attributes:
        what: its size in words.
        write_s: to write it.
        open_s: until the section is on the screen.
        filter_s: a step of the filter.
        megabytes: of page, scripts and data; media do not count.
        samples: that the gallery shows; None where the section is another.
        said: what the section says of the filter at the end.
    """

    what: str
    write_s: float
    open_s: float
    filter_s: float
    megabytes: float
    samples: int | None
    said: str


def bench_report(
    write: Write, *, samples: Sequence[int], clips: int, rounds: int
) -> tuple[str, str]:
    """Measure a gallery for each number of samples, and the curation of many clips.

    Args:
        write: makes a report of a run folder.
        samples: numbers, the smallest first.
        clips: of the run with many.
        rounds: times that each page is opened; the median counts.

    Returns:
        A table, and the summary line.
    """
    with browser() as opened:
        timings = [
            _measure(write, opened, section="gallery", clips=FEW_CLIPS, samples=n, rounds=rounds)
            for n in samples
        ]
        many = _measure(
            *(write, opened), section="curation", clips=clips, samples=FEW_SAMPLES, rounds=rounds
        )
    ratio = timings[-1].open_s / timings[0].open_s
    line = (
        f"{timings[-1].what} open in {ratio:.1f} times the time of {samples[0]};"
        f" a step of the filter takes {timings[-1].filter_s / timings[-1].open_s:.2f} of opening,"
        f" of {many.what} {many.filter_s / many.open_s:.2f}; at most"
        f" {max(timing.megabytes for timing in (*timings, many)):.1f} MB without media"
    )
    return table([*timings, many]), line


def table(timings: Sequence[Timing]) -> str:
    """The timings as Markdown."""
    head = "| report of | write | open | filter | MB without media | shown |\n"
    head += "|---|---|---|---|---|---|\n"
    rows = [
        f"| {t.what} | {t.write_s:.1f} s | {1000 * t.open_s:.0f} ms | {1000 * t.filter_s:.0f} ms"
        f" | {t.megabytes:.1f} | {'' if t.samples is None else f'{t.samples:,} samples'} |\n"
        for t in timings
    ]
    return head + "".join(rows)


def _measure(
    write: Write, opened: Any, *, section: str, clips: int, samples: int, rounds: int
) -> Timing:
    with tempfile.TemporaryDirectory() as scratch:
        run = make_run(Path(scratch), clips=clips, samples=samples)
        page = run / "report/index.html"
        begun = perf_counter()
        write(run, page)
        write_s = perf_counter() - begun
        open_s = seconds_to_open(opened, page, section, rounds=rounds)
        filter_s, said = seconds_to_filter(opened, page, section, _STEPS[section])
        is_gallery = section == "gallery"
        return Timing(
            what=f"{samples:,} samples" if is_gallery else f"{clips:,} clips",
            write_s=write_s,
            open_s=open_s,
            filter_s=filter_s,
            megabytes=megabytes(page),
            samples=samples_in(opened, page) if is_gallery else None,
            said=said,
        )


def megabytes(page: Path) -> float:
    """Size of a page and all that stands beside it, but media."""
    files = [file for file in page.parent.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files if file.parent.name != "media") / _MEGABYTE
