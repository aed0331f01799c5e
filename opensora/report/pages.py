"""Write the report: one page, and beside it a folder of what it loads.

The page is `index.html`; `index_files/` holds its scripts and styles (`page/`, by hand), the
libraries they use (`vendor/`), the data (`data/*.js`) and pictures and videos (`media/`). It opens
from a disk without server or network, which its content policy forbids.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from opensora.core.io import atomic_path, write_text
from opensora.report.buckets import buckets
from opensora.report.collect import RunFolder, collect
from opensora.report.encoders import encoders
from opensora.report.footage.curation import curation
from opensora.report.footage.lineage import lineage
from opensora.report.frame import page_html
from opensora.report.history import changes, facts_of, keep
from opensora.report.media import Media
from opensora.report.overview import overview
from opensora.report.samples.against import comparisons
from opensora.report.samples.evaluation import evaluation
from opensora.report.samples.gallery import gallery
from opensora.report.script import script
from opensora.report.training import training

# what makes the data of a section: name as the page asks for it -> function of the run; None is
# nothing to show
DATA: Mapping[str, Callable[[RunFolder, Media], Any]] = {
    "overview": overview,
    "curation": curation,
    "lineage": lineage,
    "buckets": buckets,
    "encoders": encoders,
    "training": training,
    "gallery": gallery,
    "evaluation": evaluation,
}
# in the order in which they are loaded
_LIBRARIES = ("d3-array.min.js", "d3-path.min.js", "d3-shape.min.js", "d3-sankey.min.js")
LIBRARIES = (*_LIBRARIES, "uPlot.iife.min.js", "uPlot.min.css")
FRAME = ("core.js", "state.js", "filter.js", "tables.js", "charts.js")
SECTIONS = (
    "overview.js",
    *("expression.js", "selection.js", "histogram.js", "sankey.js", "rules.js", "curation.js"),
    "clips.js",
    *("buckets.js", "encoders.js", "training.js"),
    *("sample.js", "compare.js", "details.js", "gallery.js"),
    *("against.js", "evaluation.js"),
)
STYLES = ("style.css", "curation.css", "gallery.css")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' file:",
        "style-src 'self' file:",
        "img-src 'self' file: data:",
        "media-src 'self' file:",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
_MEGABYTE = 1_000_000


def write_report(
    run_dir: str | Path,
    output: str | Path,
    *,
    benchmarks: str | Path | None = None,
    archive: str | Path | None = None,
    pictures: str | Path | None = None,
    against: Sequence[Path] = (),
) -> str:
    """Write the report of a run.

    Args:
        run_dir: `results/{run}`; missing parts become one-line remarks on the page.
        output: the HTML file; the folder beside it, `{stem}_files`, is replaced.
        benchmarks: Snakemake's benchmark folder.
        archive: a zip file of both, to send to others.
        pictures: a folder for the charts as files, which is replaced.
        against: comparisons of evaluations, of this run and others.

    Returns:
        A summary line.

    Raises:
        OpenSoraError: there is no such run folder, or a file in it or a comparison is damaged.
    """
    page = Path(output)
    compared = comparisons(against)
    run = collect(run_dir, benchmarks)
    folder = page.with_name(f"{page.stem}_files")
    facts = facts_of(run)
    since = changes(facts, folder)
    with atomic_path(folder, folder=True) as made:
        _copy(made)
        keep(facts, since.pop("before"), made)
        write_text(made / "data" / "changes.js", script("changes", since))
        media = Media(made / "media", f"{folder.name}/media")
        for name, data in DATA.items():
            if (value := data(run, media)) is not None:
                write_text(made / "data" / f"{name}.js", script(name, value))
        if compared:
            write_text(made / "data" / "against.js", script("against", compared))
        found = sorted(file.name for file in (made / "data").glob("*.js"))
        size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
    write_text(page, _html(run.name, folder.name, found))
    if archive is not None:
        _zip(page, folder, Path(archive))
    if pictures is not None:
        from opensora.report.pictures.draw import write_pictures  # matplotlib takes its time

        write_pictures(run, Path(pictures))
    return f"{page}: {size / _MEGABYTE:.1f} MB in {folder.name}, {len(run.stages)} stages"


def _copy(folder: Path) -> None:
    """Put scripts, styles and libraries in place."""
    for kind, names in (
        ("page", (*FRAME, *SECTIONS, "start.js", *STYLES)),
        ("vendor", LIBRARIES),
    ):
        (folder / kind).mkdir()
        for name in names:
            content = (files("opensora.report") / kind / name).read_bytes()
            (folder / kind / name).write_bytes(content)
    (folder / "data").mkdir()


def _html(run: str, folder: str, data: list[str]) -> str:
    libraries = [f"vendor/{name}" for name in LIBRARIES]
    scripts = [
        *(name for name in libraries if name.endswith(".js")),
        *(f"page/{name}" for name in FRAME),
        *(f"data/{name}" for name in data),
        *(f"page/{name}" for name in (*SECTIONS, "start.js")),
    ]
    styles = [
        *(name for name in libraries if name.endswith(".css")),
        *(f"page/{name}" for name in STYLES),
    ]
    return page_html(
        *(run, "run report"),
        policy=POLICY,
        styles=[f"{folder}/{name}" for name in styles],
        scripts=[f"{folder}/{name}" for name in scripts],
    )


def _zip(page: Path, folder: Path, archive: Path) -> None:
    """Pack the page and its folder; videos and pictures are as small as they get already."""
    with atomic_path(archive) as made, zipfile.ZipFile(made, "w") as packed:
        for file in [page, *sorted(path for path in folder.rglob("*") if path.is_file())]:
            name = Path(page.stem) / file.relative_to(page.parent)
            is_media = file.parent.name == "media"
            kind = zipfile.ZIP_STORED if is_media else zipfile.ZIP_DEFLATED
            packed.write(file, name, compress_type=kind)
