"""VBench: samples under the names that it looks for, and what it found, beside our metrics.

VBench itself is not run here: its environment is another. It looks in a folder of videos for
`{prompt}-{index}.mp4`, five of each prompt of its list; in its mode `custom_input` it takes every
video of the folder, whose prompts a file beside it may name: `{"file name": "prompt"}`. It writes
`results_{time}_eval_results.json`:
dimension -> [score, [{"video_path": ..., "video_results": ...}, ...]].

Source: vbench 0.1.5 on PyPI, vbench/__init__.py and vbench/launch/evaluate.py.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import ConfigError, OpenSoraError, TableError
from opensora.core.io import atomic_path, read_json, sha256_file, write_json
from opensora.evaluation.metric import prompts_of
from opensora.evaluation.statistics import summarise
from opensora.tables.columns import ID, PATH

PREFIX = "vbench_"  # of the names of metrics; a dimension follows
VERSION = 1
_NAME_BYTES = 255  # that file systems take
_RESULTS = "_eval_results.json"  # ends of names of files of results


def vbench_names(samples: pd.DataFrame) -> dict[str, str]:
    """What VBench calls each sample, by its id: the prompt, and its number among those of it.

    A prompt that no file can be named after stands in no list of VBench; its samples keep their
    ids as names, and the file of prompts says what they were made from.
    """
    seen: Counter[str] = Counter()
    names = {}
    for row in samples.to_dict("records"):
        prompt, suffix = row["prompt"], Path(row[PATH]).suffix
        name = f"{prompt}-{seen[prompt]}{suffix}"
        seen[prompt] += 1
        is_a_name = not set("/\0") & set(prompt) and len(name.encode()) <= _NAME_BYTES
        names[row[ID]] = name if is_a_name else f"{row[ID]}{suffix}"
    return names


def prompt_file(folder: Path) -> Path:
    """Where the prompts of a folder of videos are: beside it, for it may hold nothing else."""
    return folder.with_name(f"{folder.name}.json")


def lay_out(samples: pd.DataFrame, folder: Path) -> int:
    """Link the samples into a new folder, under VBench's names and with nothing beside them.

    `prompt_file` says which prompt each was made from.

    Returns:
        How many there are.

    Raises:
        ConfigError: the folder or the file of prompts is there already.
        TableError: there are images and videos, of which VBench would take either.
    """
    for place in (folder, prompt_file(folder)):
        if place.exists():
            raise ConfigError(f"--vbench-videos: {place} is there already; name a new folder")
    kinds = sorted({Path(path).suffix for path in samples[PATH]})
    if len(kinds) > 1:
        raise TableError(
            f"--vbench-videos: samples are {' and '.join(kinds)}, and VBench takes those of one"
            " suffix alone; sample images and videos into folders of their own"
        )
    names = vbench_names(samples)
    with atomic_path(folder, folder=True) as temporary:
        for row in samples.to_dict("records"):
            _link(Path(row[PATH]), temporary / names[row[ID]])
        prompts = zip(samples[ID], samples["prompt"], strict=True)
        write_json(prompt_file(folder), {names[sample]: prompt for sample, prompt in prompts})
    return len(names)


def read_results(paths: Sequence[Path], samples: pd.DataFrame) -> dict[str, Any]:
    """Read result files of VBench as metrics of the samples.

    Args:
        paths: `*_eval_results.json`, or folders of them; a dimension stands in one of them.
        samples: SAMPLES.

    Returns:
        `vbench_{dimension}` -> what every metric says, and `score`, VBench's own number, which
        for some dimensions is on another scale than the values of videos, or counts frames; None
        where it is no number.

    Raises:
        ConfigError: a file is none of VBench, or was made of other samples.
    """
    ids = {name: sample for sample, name in vbench_names(samples).items()}
    found: dict[str, Any] = {}
    for path in _files(paths):
        for dimension, result in _read(path).items():
            values: dict[str, float | None] = dict.fromkeys(ids.values())
            unknown = 0
            for video in result[1]:
                sample = ids.get(Path(str(video["video_path"])).name)
                if sample is None:
                    unknown += 1
                else:
                    values[sample] = float(video["video_results"])
            if unknown == len(result[1]):
                raise ConfigError(
                    f"--vbench: {path}: {dimension}: none of its {unknown} videos is one of these"
                    " samples; give the results of the folder that --vbench-videos made of them"
                )
            name, score = f"{PREFIX}{dimension}", float(result[0])
            if name in found:
                raise ConfigError(f"--vbench: {path}: {dimension} stands in two files; give one")
            found[name] = {
                **{"version": VERSION, "of": "samples", "unit": "VBench", "better": "higher"},
                **summarise(values, prompts_of(samples)),
                **{"score": score if math.isfinite(score) else None, "file": sha256_file(path)},
            }
    return found


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files of results, in order; of a folder all that it holds."""
    found = []
    for path in paths:
        inside = sorted(path.glob(f"*{_RESULTS}")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"--vbench: {path} has no *{_RESULTS}; give VBench's --output_path")
        found += inside
    return found


def _read(path: Path) -> dict[str, Any]:
    """Dimension -> score and videos, of a file that has this shape and nothing else."""
    try:
        found = read_json(path)
        for score, videos in found.values():
            float(score)
            for video in videos:
                float(video["video_results"])
                str(video["video_path"])
    except (OpenSoraError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"--vbench: {path} holds no results of VBench; give its *_eval_results.json"
        ) from error
    return dict(found)


def _link(source: Path, target: Path) -> None:
    """A second name of a file; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
