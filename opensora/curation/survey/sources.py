"""How many clips, or else files, the sources of a run have, before anything of it is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensora.config.run_sources import Source
from opensora.curation.ingest.discovery import LIST_SUFFIXES, find_media
from opensora.tables.columns import SOURCE_NAME
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest

CLIPS, FILES = "clips", "files"
_TRAIN = "train"


def counts_of(config: Mapping[str, Any], results: Path) -> tuple[dict[str, int | None], str]:
    """Count what each source has.

    Args:
        config: of the workflow, checked, with `sources`.
        results: folder of the run.

    Returns:
        By source clips for training, where the run has a manifest already; else files, or rows of
        its table, None where that is not known. And which of the two: `clips` or `files`.
    """
    names = [source["name"] for source in config["sources"]]
    manifest = results / "manifest"
    if manifest.is_dir() and any(manifest.glob("*.parquet")):
        rows = read_manifest(manifest)
        found = rows.loc[rows["split"] == _TRAIN, SOURCE_NAME].value_counts()
        return {name: int(found.get(name, 0)) for name in names}, CLIPS
    return {source["name"]: _files(source) for source in config["sources"]}, FILES


def _files(source: Source) -> int | None:
    if source.get("fetch"):
        return len(read_table(source["fetch"]["list"]))
    if not source["manifest"]:
        return len(find_media(source["videos"]).files)
    place = Path(source["manifest"])
    if place.is_dir():
        return len(find_media([place]).files) or None  # archives are not looked into
    return len(read_table(place)) if place.suffix.lower() in LIST_SUFFIXES else None
