"""All samples of a run as data: what was asked, what was measured, how to make it again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from opensora.core.errors import VideoError
from opensora.core.guard import Guard
from opensora.report.collect import ATTRIBUTES, MILESTONE, RunFolder, StageFolder
from opensora.report.media import VIDEOS, Media
from opensora.report.samples.evaluation import sample_values
from opensora.report.samples.posters import poster
from opensora.report.samples.records import Keyed, exact, keyed_rows, replay_command
from opensora.tables.columns import ID, PATH
from opensora.tables.prompts import reference_picture

# fields of a record that belong to one sample; the others are shared by many and stand once
_OWN = ("k", "noise_seed", "clean_prompts", "mask_strategy", "references", "fingerprint", "sha256")
_IN_TABLE = ("id", "path", "prompt", "seed", "num_frames", "height", "width", "fps", "seal")


def gallery(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """Everything the gallery shows; None where nothing is sampled.

    Args:
        run: its stages in order, milestones before the end of their stage.
        media: takes the samples and their posters.

    Returns:
        `points` (name, stage, step or None), `metrics` (names of values of samples), `tags` (all,
        with counts), `settings` (what samples were made with, each once) and `samples`: id, point
        and setting (numbers in those lists), pair (equal for equal prompt, seed and number: the
        same noise at another checkpoint), prompt, seed, k, width, height, frames, fps, is_video,
        media and poster (addresses, or ""), references (addresses), absent (why there is nothing
        to see), tags, values (metric -> number), own (fields of its record), replay (a command,
        or "").
    """
    shown = [stage for stage in run.stages if len(stage.samples)]
    if not shown:
        return None
    settings: dict[str, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    samples = []
    with Guard("report") as guard:
        for number, stage in enumerate(shown):
            values, verdicts = sample_values(stage.evaluation), _verdicts(stage)
            for keyed in keyed_rows(stage):
                sample, name = _sample(stage, keyed, media, guard), str(keyed[0][ID])
                shared = {k: v for k, v in keyed[2].items() if k not in (*_OWN, *_IN_TABLE)}
                text = json.dumps(shared, sort_keys=True)
                sample |= {
                    "point": number,
                    "pair": pairs.setdefault(keyed[1], len(pairs)),
                    "setting": settings.setdefault(text, len(settings)),
                    "values": {metric: of[name] for metric, of in values.items() if name in of},
                    "tags": _tags(verdicts.get(name, {}), sample),
                }
                samples.append(sample)
    tags = Counter(tag for sample in samples for tag in sample["tags"])
    return {
        "points": [_point(stage) for stage in shown],
        "metrics": sorted({metric for sample in samples for metric in sample["values"]}),
        "tags": sorted(tags.items(), key=lambda item: (-item[1], item[0])),
        "settings": [exact(json.loads(text)) for text in settings],
        "samples": samples,
    }


def _point(stage: StageFolder) -> dict[str, Any]:
    """A checkpoint that was sampled; of the end of a stage the step is that of its last line."""
    name, _, step = stage.name.partition(MILESTONE)
    number = int(step) if step.isdigit() else None
    if number is None and "step" in stage.metrics and stage.metrics["step"].notna().any():
        number = int(stage.metrics["step"].max())
    return {"name": stage.name, "stage": name, "step": number}


def _sample(stage: StageFolder, keyed: Keyed, media: Media, guard: Guard) -> dict[str, Any]:
    """What a row, its record and its file say of a sample."""
    row, _, record = keyed
    file = stage.samples_dir / str(row[PATH])
    frames = int(row["num_frames"])
    address, absent = media.take(file, stage.places)
    picture = ""
    if address:
        made = guard.call(poster, file, frames)
        if isinstance(made, VideoError):
            absent = str(made)
        else:
            picture = media.put(made, ".jpg")
    return {
        **{"id": str(row[ID]), "prompt": str(row["prompt"]), "seed": exact(int(row["seed"]))},
        **{"k": record.get("k"), "width": int(row["width"]), "height": int(row["height"])},
        **{"frames": frames, "fps": float(row["fps"])},
        **{"is_video": file.suffix.lower() in VIDEOS, "media": address, "poster": picture},
        **{"absent": absent, "own": {name: exact(record[name]) for name in _OWN if name in record}},
        "references": _references(record, stage, media),
        "replay": replay_command(file.with_suffix(".json")) if record else "",
    }


def _references(record: Mapping[str, Any], stage: StageFolder, media: Media) -> list[str]:
    """Addresses of the first frames of what a sample was made from, those that were kept."""
    names = [reference_picture(str(one["sha256"])) for one in record.get("references", [])]
    taken = [media.take(stage.samples_dir / name, stage.places)[0] for name in names]
    return [address for address in taken if address]


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
    return [tag.replace(",", " ") for tag in tags]  # the address separates them by commas
