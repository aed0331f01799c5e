"""All samples of a run as data: what was asked, what was measured, how to make it again."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json
from opensora.core.seal import is_as_sealed
from opensora.report.collect import ATTRIBUTES, MILESTONE, StageFolder
from opensora.report.evaluation_data import sample_values
from opensora.report.gallery import OUTSIDE, is_inside
from opensora.tables.columns import ID, PATH

GONE = "file not found"
_VIDEOS = frozenset({".mp4", ".webm"})
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
# fields of a record that belong to one sample; the others are shared by many and stand once
_OWN = ("k", "noise_seed", "clean_prompts", "mask_strategy", "references", "fingerprint", "sha256")
_IN_TABLE = ("id", "path", "prompt", "seed", "num_frames", "height", "width", "fps", "seal")

Link = Callable[[Path], str]  # file -> its address from the page
Poster = Callable[[Path, int], tuple[str, str]]  # file, frames -> address and why there is none


def gallery_data(stages: Sequence[StageFolder], link: Link, poster: Poster) -> dict[str, Any]:
    """Everything the gallery shows.

    Args:
        stages: of the run, in order, milestones before the end of their stage.
        link: where the page finds a sample.
        poster: makes the picture of a sample.

    Returns:
        `points` (name, stage, step or None), `metrics` (names of values of samples), `tags` (all,
        with counts), `settings` (what samples were made with, each once) and `samples`: id, point
        and setting (numbers in those lists), pair (equal for equal prompt, seed and number: the
        same noise at another checkpoint), prompt, seed, k, width, height, frames, fps, is_video,
        media and poster (addresses, or ""), absent (why there is nothing to see), tags, values
        (metric -> number), own (fields of its record), replay (a command, or "").
    """
    shown = [stage for stage in stages if len(stage.samples)]
    settings: dict[str, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    samples = []
    for number, stage in enumerate(shown):
        values, verdicts = sample_values(stage.evaluation), _verdicts(stage)
        for sample, key, record in _read(stage, link, poster):
            shared = {k: v for k, v in record.items() if k not in (*_OWN, *_IN_TABLE)}
            text = json.dumps(shared, sort_keys=True)
            sample |= {
                "point": number,
                "pair": pairs.setdefault(key, len(pairs)),
                "setting": settings.setdefault(text, len(settings)),
                "values": {m: of[sample["id"]] for m, of in values.items() if sample["id"] in of},
                "tags": _tags(verdicts.get(sample["id"], {}), sample),
            }
            samples.append(sample)
    tags = Counter(tag for sample in samples for tag in sample["tags"])
    return {
        "points": [_point(stage) for stage in shown],
        "metrics": sorted({metric for sample in samples for metric in sample["values"]}),
        "tags": sorted(tags.items(), key=lambda item: (-item[1], item[0])),
        "settings": [json.loads(text) for text in settings],
        "samples": samples,
    }


def sample_keys(gallery: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, int]]]:
    """Of what the gallery shows: stage -> id of a sample -> its prompt, and its pair."""
    keys: dict[str, dict[str, tuple[str, int]]] = {p["name"]: {} for p in gallery["points"]}
    names = list(keys)
    for sample in gallery["samples"]:
        keys[names[sample["point"]]][sample["id"]] = (sample["prompt"], sample["pair"])
    return keys


def _point(stage: StageFolder) -> dict[str, Any]:
    """A checkpoint that was sampled; of the end of a stage the step is that of its last line."""
    name, _, step = stage.name.partition(MILESTONE)
    number = int(step) if step.isdigit() else None
    if number is None and "step" in stage.metrics and stage.metrics["step"].notna().any():
        number = int(stage.metrics["step"].max())
    return {"name": stage.name, "stage": name, "step": number}


def _read(
    stage: StageFolder, link: Link, poster: Poster
) -> list[tuple[dict[str, Any], tuple[str, str], dict[str, Any]]]:
    """The samples of a stage, the key of each, and its record ({} where there is none)."""
    found = []
    for row, key, record in _rows(stage):
        file = stage.samples_dir / str(row[PATH])
        height, width, frames = (int(row[name]) for name in ("height", "width", "num_frames"))
        sample: dict[str, Any] = {
            **{"id": str(row[ID]), "prompt": str(row["prompt"]), "seed": int(row["seed"])},
            **{"k": record.get("k"), "width": width, "height": height, "frames": frames},
            **{"fps": float(row["fps"]), "is_video": file.suffix.lower() in _VIDEOS},
            **{"media": "", "poster": "", "replay": ""},
            "absent": _absent(file, stage.places),
            "own": {name: record[name] for name in _OWN if name in record},
        }
        if not sample["absent"]:
            sample["media"] = link(file)
            sample["poster"], sample["absent"] = poster(file, frames)
        if record:
            sample["replay"] = replay_command(file.with_suffix(".json"))
        found.append((sample, key, record))
    return found


def _rows(stage: StageFolder) -> list[tuple[Mapping[Any, Any], tuple[str, str], dict[str, Any]]]:
    """Rows of the table with the key and the record of each; without one the rows are counted."""
    rows: list[tuple[Mapping[Any, Any], tuple[str, str], dict[str, Any]]] = []
    seen = Counter[tuple[str, str]]()
    for row in stage.samples.to_dict("records"):
        record = read_record(stage.samples_dir / str(row[PATH]), stage.places)
        prompt, seed = str(row["prompt"]), str(row["seed"])
        k = record.get("k", seen[prompt, seed])
        seen[prompt, seed] += 1
        rows.append((row, (prompt, f"{seed}/{k}"), record))
    return rows


def read_record(file: Path, places: Sequence[Path]) -> dict[str, Any]:
    """The record beside a sample; {} where there is none, or it is not what was written."""
    beside = file.with_suffix(".json")
    if not is_inside(beside, places) or not beside.is_file():
        return {}
    try:
        record = read_json(beside)
    except OpenSoraError:
        return {}
    return record if isinstance(record, dict) and is_as_sealed(record) else {}


def replay_command(record: Path) -> str:
    """The command that makes a sample again; "" for a name that no shell takes as one line."""
    path = str(record)
    return f"opensora sample --replay {shlex.quote(path)}" if path.isprintable() else ""


def _absent(file: Path, places: Sequence[Path]) -> str:
    if not is_inside(file, places):
        return OUTSIDE
    known = file.suffix.lower() in _VIDEOS | _PICTURES
    return "" if known and file.is_file() else GONE


def _verdicts(stage: StageFolder) -> dict[str, Mapping[str, Any]]:
    """What the detector of the demo world saw, by id."""
    following = (stage.evaluation or {}).get("metrics", {}).get("prompt_following", {})
    verdicts = following.get("verdicts", following.get("samples", []))
    rows = verdicts if isinstance(verdicts, list) else []
    return {str(row["id"]): row for row in rows if isinstance(row, Mapping) and "id" in row}


def _tags(verdict: Mapping[str, Any], sample: Mapping[str, Any]) -> list[str]:
    """Words to filter by: size, kind of prompt, what was right and wrong of it."""
    tags = [f"{sample['width']}x{sample['height']}", "video" if sample["is_video"] else "image"]
    if verdict.get("split"):
        tags.append(str(verdict["split"]))
    expected, detected = verdict.get("expected") or {}, verdict.get("detected") or {}
    for name in ATTRIBUTES:
        if expected.get(name):
            is_right = expected[name] == detected.get(name)
            tags.append(f"{name} {'right' if is_right else 'wrong'}")
    if sample["own"].get("references"):
        tags.append("with reference")
    return tags
