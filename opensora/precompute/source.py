"""What runs and store hold of one video: its rows, clips, texts, and the models that saw it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from opensora.core.errors import ConfigError, OpenSoraError, TableError
from opensora.core.io import read_json
from opensora.plans.compile import BatchPlan
from opensora.stores.keys import text_key
from opensora.stores.runs import CLIPS, Results
from opensora.tables.columns import ID, PATH, TEXT

_SHA256_DIGITS, _RECIPE_DIGITS = 64, 32
_WEIGHTS = ("model.safetensors", "ema.safetensors", "state")
_OWN_MODELS = ("vae", "clip", "text_encoder")


@dataclass
class Source:
    """A video in all runs of a folder.

    Attributes:
        sha256: its content; "" of one that could never be read.
        paths: where it is, or was.
        videos: run -> ids of it.
        scenes: run -> ids of its scenes.
        clips: run -> ids of its clips.
        contents: SHA-256 of its clip files, also of those that no run names any more.
        files: names of its clip files in the store.
        keys: of its texts, as tables say it.
        other_keys: of the texts of all other clips.
    """

    sha256: str = ""
    paths: set[str] = field(default_factory=set)
    videos: dict[str, set[str]] = field(default_factory=dict)
    scenes: dict[str, set[str]] = field(default_factory=dict)
    clips: dict[str, set[str]] = field(default_factory=dict)
    contents: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    other_keys: set[str] = field(default_factory=set)

    def ids(self, run: str) -> set[str]:
        """All ids that belong to it in a run."""
        return set().union(
            *(part.get(run, set()) for part in (self.videos, self.scenes, self.clips))
        )


def find_source(results: Results, word: str) -> Source:
    """Look a video up by its path as tables have it, its id, or its SHA-256.

    Copies with the same bytes are the same video.

    Raises:
        ConfigError: no run knows it, or it names several videos.
        StoreError: a table can not be read.
    """
    source = _the_video(results, word)
    for run in results.runs:
        mine = source.videos.get(run.name, set())
        for _, table in results.tables(run, "scenes", columns=[ID, "video_id"]):
            rows = table[table["video_id"].isin(mine)]
            source.scenes.setdefault(run.name, set()).update(rows[ID])
        for _, table in results.tables(run, CLIPS, columns=[ID, PATH, "video_id", "sha256"]):
            rows = table[table["video_id"].isin(mine)]
            source.clips.setdefault(run.name, set()).update(rows[ID])
            source.contents |= set(rows["sha256"]) - {""}
            source.files |= {Path(path).name for path in rows[PATH] if _in_store(path)}
    _add_stored(results, source)
    for run in results.runs:  # also of a run that entered with the manifest of another one
        for _, table in results.tables(run, "manifest", columns=[ID, PATH, "sha256"]):
            names = table[PATH].map(lambda path: Path(path).name)
            is_its = names.isin(source.files) | table[PATH].isin(source.paths)
            if "sha256" in table:
                is_its |= table["sha256"].isin(source.contents)
            source.clips.setdefault(run.name, set()).update(table.loc[is_its, ID])
    _add_keys(results, source)
    return source


def models_that_saw(results: Results, source: Source) -> list[str]:
    """Folders of models whose training saw clips of a video, or may have."""
    found = []
    for run in results.runs:
        clips, videos = source.clips.get(run.name, set()), source.videos.get(run.name, set())
        if clips:
            own = (run / "models" / name for name in _OWN_MODELS)
            found += [f"{path} (may have)" for path in own if path.exists()]
        before = False
        for folder in _stages(run):
            if not any((folder / name).exists() for name in _WEIGHTS):
                continue
            plans = (
                run / "buckets" / folder.name / "settled.parquet",
                folder / "state/plan.parquet",
            )
            if any(_holds(plan, clips, videos) for plan in plans if plan.is_file()):
                found.append(str(folder))
                before = True
            elif before:
                found.append(f"{folder} (goes on from one that did)")
    return found


def _the_video(results: Results, word: str) -> Source:
    tables = [
        (run.name, table)
        for run in results.runs
        for _, table in results.tables(run, "ingest", columns=[ID, PATH, "sha256"])
    ]
    given = os.path.abspath(word)
    contents: set[str] = set()
    for _, table in tables:
        is_meant = (table[ID] == word) | (table["sha256"] == word)
        is_meant |= table[PATH].map(lambda path: path == word or os.path.abspath(path) == given)
        contents |= set(table.loc[is_meant, "sha256"])
    if not contents and _facts_of(results, word).is_file():
        contents = {word}  # of no run any more
    if not contents:
        raise ConfigError(
            f"{results.folder}: no run knows the video {word!r}; give its path as the table"
            " ingest has it, its id, or its sha256"
        )
    if len(contents) > 1:
        raise ConfigError(
            f"{word!r} names {len(contents)} different videos; give the sha256 of one:"
            f" {', '.join(sorted(contents))}"
        )
    source = Source(sha256=contents.pop())
    for run, table in tables:
        if source.sha256:
            is_its = table["sha256"] == source.sha256
        else:
            is_its = (table[ID] == word) | (table[PATH] == word)
        source.videos.setdefault(run, set()).update(table.loc[is_its, ID])
        source.paths |= set(table.loc[is_its, PATH])
    if source.sha256:
        source.contents.add(source.sha256)  # a clip that is its whole source is no file of its own
    return source


def facts_file(results: Results, source: Source) -> Path:
    """What the store of clips wrote down of the source's clips."""
    return _facts_of(results, source.sha256)


def _facts_of(results: Results, sha256: str) -> Path:
    name = sha256 if len(sha256) == _SHA256_DIGITS and sha256.isalnum() else "none"
    return results.store / CLIPS / "facts" / name[:2] / f"{name}.json"


def _add_stored(results: Results, source: Source) -> None:
    """Clips that were cut from it once, as the store says."""
    path = facts_file(results, source)
    if not path.is_file():
        return
    try:
        facts = read_json(path)
        source.contents |= {str(fact["sha256"]) for fact in facts.values()}
    except (OpenSoraError, AttributeError, KeyError, TypeError) as error:
        raise TableError(
            f"{path}: can not be read, so that it is unknown which clips the store has of the"
            " video; delete it and run split_clips again"
        ) from error
    source.files |= {f"{recipe}{suffix}" for recipe in facts for suffix in (".mp4", ".png")}


def _in_store(path: str) -> bool:
    """Whether a path has the form {recipe[:2]}/{recipe}.mp4; other clips are their sources."""
    place = Path(path)
    return place.parent.name == place.stem[:2] and len(place.stem) == _RECIPE_DIGITS


def _add_keys(results: Results, source: Source) -> None:
    for run in results.runs:
        clips = source.clips.get(run.name, set())
        for _, table in results.tables(run, "captions", "manifest", columns=[ID, TEXT]):
            is_its = table[ID].isin(clips)
            source.keys |= {text_key(text) for text in table.loc[is_its, TEXT] if text}
            source.other_keys |= {text_key(text) for text in set(table.loc[~is_its, TEXT])}


def _stages(run: Path) -> list[Path]:
    """Folders of trained stages, in the order in which they start from each other."""
    folders: dict[str, Path] = {path.name: path for path in sorted((run / "train").glob("*/"))}
    try:
        config: Any = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        names = [stage["name"] for stage in config["stages"]]
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        names = []
    order = [*(name for name in names if name in folders), *folders]
    return [folders[name] for name in dict.fromkeys(order)]


def _holds(plan: Path, clips: set[str], videos: set[str]) -> bool:
    """Whether a plan has clips of the video, also of an earlier cut, whose ids begin as its own."""
    try:
        ids = BatchPlan(plan).entries.ids.to_pylist()
    except TableError:
        return True  # nobody can say that it did not
    begins = tuple(f"{video}_" for video in videos)
    return any(name in clips or (begins and name.startswith(begins)) for name in ids)
