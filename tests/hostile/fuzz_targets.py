"""What is called with a hostile input, and what became of it; runs in worker processes."""

import json
import os
import random
import resource
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from opensora.config.load import read_saved_config
from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.text import visible
from opensora.curation.captions.caption_clips import caption_clips
from opensora.curation.captions.sidecar import SidecarCaptioner
from opensora.curation.ingest.probing import probe_row
from opensora.curation.isolation import WorkerFailure, _call
from opensora.curation.manifest.expressions import Condition
from opensora.curation.manifest.filters import parse_filters
from opensora.media.decode import iter_frames
from opensora.media.images import read_image
from opensora.models.weights.files import read_weights
from opensora.tables.columns import CLIPS
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest

from .fuzz_inputs import (
    CONFIG,
    EXPRESSIONS,
    OBJECT,
    chance,
    mutated_bytes,
    mutated_head,
    mutated_text,
    seeds,
)

ACCEPTED, REFUSED, NEEDS_GUARD, ESCAPE = "accepted", "refused", "needs guard", "escape"
_MEMORY_BYTES = 3 << 30  # that an input may take beside what is loaded
_MOST_FRAMES = 60
_LONGEST_ERROR = 1_000  # characters, of a condition
TABLE = pd.DataFrame(
    {
        "flow": [0.2, 0.9, np.nan, 5.0],
        "aes": [6.0, 4.0, 6.0, 4.0],
        "kind": ["video", "video", "image", "video"],
        "n": [1, 2, -3, 0],
        "big": [1, 2, 3, 2**62],
    }
)


class Input(NamedTuple):
    """Names one input: where the valid ones are, its kind, its number and the seed of the run."""

    folder: str
    kind: str
    number: int
    seed: int


class Finding(NamedTuple):
    """What became of an input, and why: a reason, or the error that escaped."""

    what: str
    why: str


def examine(given: Input) -> Finding:
    """Make an input and hand it to its target, within bounds."""
    _bound_process()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        return judge(given.kind, make(given, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make(given: Input, folder: Path) -> Path:
    """Write an input into a folder; equal names give equal bytes."""
    draw = chance(given.seed, given.kind, given.number)
    return _MAKERS[given.kind](Path(given.folder), folder, draw)


def judge(kind: str, path: Path) -> Finding:
    """Call the target; the curation's stages hand files to guarded workers, the others do not."""
    target = _TARGETS[kind]
    try:
        if kind in GUARDED:
            how, value = _call(target, path)
            if how == "raised":
                raise value
            reason = value.reason if isinstance(value, WorkerFailure) else value
        else:
            reason = target(path)
    except VideoError as error:
        return Finding(REFUSED, error.reason)
    except OpenSoraError as error:
        if kind == "expressions" and len(str(error)) > _LONGEST_ERROR:
            return Finding(ESCAPE, "an error that repeats the whole condition")
        return Finding(REFUSED, type(error).__name__)
    except Exception as error:
        words = f"{type(error).__name__}: {visible(str(error))[:160]}"
        return Finding(NEEDS_GUARD if kind in GUARDED else ESCAPE, words)
    return Finding(REFUSED, reason) if reason else Finding(ACCEPTED, "")


@cache
def _bound_process() -> None:
    """Limit the memory of this worker, once, and keep the chatter of decoders off the terminal."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _probe(path: Path) -> str:
    status = str(probe_row(str(path))["status"])
    return "" if status == "ok" else status


def _decode(path: Path) -> str:
    for _ in islice(iter_frames(path), _MOST_FRAMES):
        pass
    return ""


def _image(path: Path) -> str:
    read_image(path)
    return ""


def _caption(path: Path) -> str:
    """Of a text, an object or a table beside a film."""
    row = dict.fromkeys(CLIPS.columns, "") | {"id": "a", "status": "ok", "path": "a.mp4"}
    row |= {"source": str(path.with_name("film.mp4")), "kind": "video", "start": 0.0, "end": 2.0}
    tables = [path] if path.suffix in (".csv", ".parquet") else []
    found = caption_clips(pd.DataFrame([row]), SidecarCaptioner(tables), languages=["en"])
    status = str(found["status"].iloc[0])
    return "" if status == "ok" else status


def _table(path: Path) -> str:
    read_table(path)
    read_manifest(path)
    return ""


def _expression(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="surrogatepass")
    if path.suffix == ".json":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return "no JSON"
        parse_filters(found if isinstance(found, dict) else {"flow": found})
        return ""
    Condition(text).holds(TABLE)
    return ""


def _weights(path: Path) -> str:
    read_weights(path.parent if path.name.endswith(".index.json") else path)
    return ""


def _config(path: Path) -> str:
    read_saved_config(path)
    return ""


def _of_files(kind: str) -> Callable[[Path, Path, random.Random], Path]:
    def maker(source: Path, folder: Path, draw: random.Random) -> Path:
        known = seeds(source / kind)
        suffix, data = draw.choice(known)
        name = "model.safetensors.index" if suffix == ".json" and kind == "weights" else "a"
        path = folder / (name + suffix)
        if suffix in (".csv", ".json", ".jsonl") and draw.random() < 0.7:
            text = mutated_text(data.decode(), draw)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        elif suffix == ".safetensors" and draw.random() < 0.7:
            path.write_bytes(mutated_head(data, draw))
        else:
            others = [other for _, other in known]
            path.write_bytes(mutated_bytes(data, draw, others))
        return path

    return maker


def _make_caption(source: Path, folder: Path, draw: random.Random) -> Path:
    suffix = draw.choice((".txt", ".json", ".json", ".csv", ".parquet"))
    if suffix in (".csv", ".parquet"):
        return _of_files("tables")(source, folder, draw)
    whole = OBJECT if draw.random() < 0.5 else [OBJECT, OBJECT]
    text = json.dumps(whole) if suffix == ".json" else str(OBJECT["text"])
    data = mutated_text(text, draw).encode("utf-8", "surrogatepass")
    path = folder / f"film{suffix}"
    path.write_bytes(mutated_bytes(data, draw) if draw.random() < 0.3 else data)
    return path


def _make_expression(source: Path, folder: Path, draw: random.Random) -> Path:
    if draw.random() < 0.2:
        bounds = {"flow": {"min": draw.choice((1, -0.5, 10**400, None, "1", [], True, 1e308))}}
        text, path = mutated_text(json.dumps(bounds), draw), folder / "filters.json"
    else:
        text, path = mutated_text(draw.choice(EXPRESSIONS), draw), folder / "condition.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def _make_config(source: Path, folder: Path, draw: random.Random) -> Path:
    data = mutated_text(CONFIG, draw).encode("utf-8", "surrogatepass")
    path = folder / "config.py"
    path.write_bytes(mutated_bytes(data, draw) if draw.random() < 0.2 else data)
    return path


_TARGETS: dict[str, Callable[[Path], Any]] = {
    **{"probe": _probe, "decode": _decode, "images": _image, "captions": _caption},
    **{"tables": _table, "expressions": _expression, "weights": _weights, "configs": _config},
}
_MAKERS: dict[str, Callable[[Path, Path, random.Random], Path]] = {
    **{"probe": _of_files("videos"), "decode": _of_files("videos"), "images": _of_files("images")},
    **{"captions": _make_caption, "tables": _of_files("tables")},
    **{"expressions": _make_expression, "weights": _of_files("weights"), "configs": _make_config},
}
KINDS = tuple(_TARGETS)
GUARDED = frozenset({"probe", "decode", "images", "captions"})
