"""Paths in shown commands: which the repository has, which a run makes, which are the reader's."""

import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).parents[2]
MADE_FOLDERS = ("results", "logs", "benchmarks")  # of a run, beside the repository's files
YOURS = "mine"
HUB_NAMES = (
    "stabilityai/sd-vae-ft-ema",
    "DeepFloyd/t5-v1_1-xxl",
    "llava-hf/llava-v1.6-mistral-7b-hf",
)
# where a line leaves the config to the reader, one that the command takes
_FILE = re.compile(
    r"[\w.{}*/+-]+\.(?:csv|html|jpg|jsonl?|mp4|parquet|png|pth?|py|safetensors|svg|tsv|txt|ya?ml)\b"
)


class Refused(AssertionError):
    """A command that its program would refuse, or that names what is not there."""


# ---------------------------------------------------------------------------------- a whole line


def paths_in(words: Sequence[str]) -> list[str]:
    """What looks like a path, also inside JSON and behind `name=`."""
    found = [match for word in words for match in _FILE.findall(word)]
    starts = (f"{YOURS}/", *(f"{name}/" for name in MADE_FOLDERS))
    found += [word for word in words if word.startswith(starts)]
    return list(dict.fromkeys(found))


def require_known(path: str, made: Collection[str]) -> None:
    """Refuse a path that nobody has."""
    from opensora.models.weights.pretrained import OFFICIAL_FILES

    path = path.removeprefix("./").rstrip("/")
    first, *rest = path.split("/")
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", first) or first == YOURS:
        return
    if path in OFFICIAL_FILES or path in HUB_NAMES:
        return
    if first == "results" and rest:
        path = "/".join(["results", "test", *rest[1:]])
    elif first in MADE_FOLDERS:
        raise Refused(f"{path}: say which file of {first}/ is meant below results/")
    elif (REPOSITORY / path).exists():
        return
    inside = any(path == name or name.startswith(f"{path}/") for name in made)
    if not inside:
        raise Refused(
            f"{path}: not in the repository and not made by a run; what is the reader's stands"
            f" below {YOURS}/ or in CAPITALS"
        )


def bring(place: Path, path: str) -> None:
    """Make what is the reader's, so that commands find it."""
    target = place / path
    mine = path.removeprefix("./").startswith(YOURS) or re.match(r"[A-Z][A-Z0-9_]*(/|$)", path)
    if not mine or target.exists() or any(mark in path for mark in "*{"):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.suffix:
        target.mkdir()
    elif target.name == "prompts.csv":
        target.write_text("text,reference_path\na cat,assets/images/condition/wave.png\n")
    elif target.suffix == ".csv":
        rows = {"path": ["a.mp4"], "text": ["a cat"], "num_frames": [99]}
        pd.DataFrame({**rows, "height": 720, "width": 1280}).to_csv(target)
    elif target.suffix == ".yaml":
        shutil.copy(REPOSITORY / "configs/workflow/mine.yaml", target)
    elif target.suffix == ".txt":
        target.write_text("a cat\n")
    else:
        target.touch()


def furnish(place: Path, made: Collection[str]) -> None:
    """Fill a working folder: the repository's files, and what runs called `demo` and `test` left.

    Files of a run are empty, except tables and prompts.
    """
    for item in REPOSITORY.iterdir():
        if item.name[0] != "." and item.name not in (*MADE_FOLDERS, YOURS):
            (place / item.name).symlink_to(item)
    for name in made:
        for run in ("demo", "test"):
            target = place / name.replace("results/test/", f"results/{run}/", 1)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix:
                target.write_text("a cat\n" if target.suffix == ".txt" else "")
            else:
                target.mkdir(exist_ok=True)


# ------------------------------------------------------------------------------------- opensora
