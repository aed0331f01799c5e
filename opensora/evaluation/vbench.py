"""VBench: samples under the names that it looks for, and what it found, beside our metrics.

VBench itself is not run here: its environment is another. It looks in a folder of videos for
`{prompt}-{index}.mp4`, five of each prompt of its list, and writes `{name}_eval_results.json`:
dimension -> [score, [{"video_path": ..., "video_results": ...}, ...]].

Source: github.com/Vchitect/VBench, vbench/__init__.py and prompts/README.md, commit 6b1f134.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import ConfigError, OpenSoraError, TableError
from opensora.core.io import atomic_path, read_json, sha256_file
from opensora.evaluation.metric import prompts_of
from opensora.evaluation.statistics import summarise
from opensora.tables.columns import ID, PATH

PREFIX = "vbench_"  # of the names of metrics; a dimension follows
VERSION = 1
_NAME_BYTES = 255  # that file systems take


def vbench_names(samples: pd.DataFrame) -> dict[str, str]:
    """What VBench calls each sample, by its id: the prompt, and its number among those of it.

    Raises:
        TableError: a prompt that no file can be named after.
    """
    seen: Counter[str] = Counter()
    names = {}
    for row in samples.to_dict("records"):
        prompt = row["prompt"]
        name = f"{prompt}-{seen[prompt]}{Path(row[PATH]).suffix}"
        seen[prompt] += 1
        if "/" in prompt or "\0" in prompt or len(name.encode()) > _NAME_BYTES:
            raise TableError(
                f"the prompt {prompt[:60]!r} has a slash or is too long for the name of a file,"
                " which VBench makes of it; use prompts of VBench's own list"
            )
        names[row[ID]] = name
    return names


def lay_out(samples: pd.DataFrame, folder: Path) -> int:
    """Link the samples into a new folder, under VBench's names and with nothing beside them.

    Returns:
        How many there are.

    Raises:
        ConfigError: the folder is there already.
        TableError: a prompt that no file can be named after.
    """
    if folder.exists():
        raise ConfigError(f"--vbench-videos: {folder} is there already; name a new folder")
    names = vbench_names(samples)
    with atomic_path(folder, folder=True) as temporary:
        for row in samples.to_dict("records"):
            _link(Path(row[PATH]), temporary / names[row[ID]])
    return len(names)


def read_results(paths: Sequence[Path], samples: pd.DataFrame) -> dict[str, Any]:
    """Read result files of VBench as metrics of the samples.

    Args:
        paths: `*_eval_results.json`; a dimension stands in one of them.
        samples: SAMPLES.

    Returns:
        `vbench_{dimension}` -> what every metric says, and `score`, VBench's own number, which
        for some dimensions is on another scale than the values of videos, or counts frames.

    Raises:
        ConfigError: a file is none of VBench, or was made of other samples.
    """
    ids = {name: sample for sample, name in vbench_names(samples).items()}
    found: dict[str, Any] = {}
    for path in paths:
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
            name = f"{PREFIX}{dimension}"
            if name in found:
                raise ConfigError(f"--vbench: {path}: {dimension} stands in two files; give one")
            found[name] = {
                **{"version": VERSION, "of": "samples", "unit": "VBench", "better": "higher"},
                **summarise(values, prompts_of(samples)),
                **{"score": float(result[0]), "file": sha256_file(path)},
            }
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
