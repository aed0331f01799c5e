"""The tables and settings that other trainers read: one function each, from rows to texts of files.

Sources, where each layout is described: musubi-tuner docs/dataset_config.md; diffusion-pipe
examples/dataset.toml; finetrainers docs/dataset/README.md; LTX-Video-Trainer
docs/dataset-preparation.md.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from opensora.curation.export.frames import Shapes
from opensora.curation.export.names import SPLIT
from opensora.tables.checks import TRAIN, VALIDATION
from opensora.tables.columns import CAPTION

NO_IMAGES = "an image: this format holds videos alone"
_ENCODER = json.JSONEncoder(ensure_ascii=False)  # to make one takes as long as to use it
_PROMPTS = 8  # of which a trainer makes videos, which takes its time
_ASPECT_BUCKETS = 7  # between the narrowest and the widest clip


@dataclass(frozen=True)
class Trained:
    """What the settings say of all clips.

    Attributes:
        folder: where the files will stand.
        counts: frames.
        size: height and width in pixels.
        fps: rate at which the trainer samples frames, None the clips' own.
    """

    folder: Path
    counts: tuple[int, ...]
    size: tuple[int, int]
    fps: float | None


@dataclass(frozen=True)
class Trainer:
    """A trainer: the shapes that it takes, and its files as name -> text.

    `images`: takes stills among the videos. `captions_beside`: a .txt file beside each clip.
    `files` takes kept rows with `file` (of a clip, from the folder or absolute), `caption`,
    `frames` (the count that the clip is trained at, 1 = image), `fps`, `height`, `width`, `split`.
    """

    shapes: Shapes
    images: bool
    captions_beside: bool
    files: Callable[[pd.DataFrame, Trained], dict[str, str]]


def _musubi(rows: pd.DataFrame, trained: Trained) -> dict[str, str]:
    """dataset.toml with a data set per count (and rate), of a JSON Lines file each.

    A data set of several target_frames takes a clip once for each that it fills; here each clip
    is taken once, at the longest.
    """
    height, width = trained.size
    folder = str(trained.folder)
    lines = [
        "[general]",
        f"resolution = [{width}, {height}] # width, height: the area that buckets keep",
        "batch_size = 1",
        "enable_bucket = true",
        "bucket_no_upscale = true",
    ]
    files = {}
    rates = rows["fps"].where(rows["frames"] > 1, 0.0) if trained.fps else 0.0
    train = rows.assign(rate=rates)[rows[SPLIT] == TRAIN]
    for count, rate in sorted(set(zip(train["frames"], train["rate"], strict=True))):
        part = train[(train["frames"] == count) & (train["rate"] == rate)]
        name = "images" if count == 1 else f"videos_{count}" + (f"_{rate:g}fps" if rate else "")
        kind = "image" if count == 1 else "video"
        files[f"{name}.jsonl"] = "".join(
            f"{as_json({f'{kind}_path': os.path.join(folder, file), 'caption': text})}\n"
            for file, text in zip(part["file"], part[CAPTION], strict=True)
        )
        table = as_json(trained.folder / f"{name}.jsonl")
        lines += ["", "[[datasets]]", f"{kind}_jsonl_file = {table}"]
        lines += [f"cache_directory = {as_json(trained.folder / 'cache' / name)}"]
        if count > 1:
            lines += [f"target_frames = [{count}]", 'frame_extraction = "head"']
        if rate:
            lines.append(f"source_fps = {float(rate)!r}")
    if held_out := int((rows[SPLIT] != TRAIN).sum()):
        lines.insert(0, f"# held out, and so in no table: {held_out} clips in folders of their own")
    return {"dataset.toml": "\n".join(lines) + "\n", **files}


def _diffusion_pipe(rows: pd.DataFrame, trained: Trained) -> dict[str, str]:
    """dataset.toml over the folder of training clips, captions beside them.

    One more for each split that is held out, as the trainer's `eval_datasets` takes it.
    """
    height, width = trained.size
    aspect = rows["width"] / rows["height"]
    low, high = float(aspect.min()), float(aspect.max())
    general = [
        f"resolutions = [[{width}, {height}]] # width, height: the area that buckets keep",
        "enable_ar_bucket = true",
        f"min_ar = {low:.4f} # width / height, of the narrowest clip",
        f"max_ar = {high:.4f}",
        f"num_ar_buckets = {_ASPECT_BUCKETS if high > low else 1}",
        f"frame_buckets = {sorted({1, *trained.counts})}",
        "",
        "[[directory]]",
    ]
    files = {}
    for split in sorted({TRAIN, *rows[SPLIT]}):
        name = "dataset.toml" if split == TRAIN else f"{split}.toml"
        head = []
        if split != TRAIN:
            config = as_json(trained.folder / name)
            head = [
                "# Held out; in the settings of the training:",
                f'# eval_datasets = [{{name = "{split}", config = {config}}}]',
            ]
        directory = [f"path = {as_json(trained.folder / split)}", "num_repeats = 1", ""]
        files[name] = "\n".join([*head, *general, *directory])
    return files


def _finetrainers(rows: pd.DataFrame, trained: Trained) -> dict[str, str]:
    """metadata.csv beside the clips of each split, and the file for --dataset_config.

    What is held out gives prompts for --validation_dataset_file; the trainer makes a video of each.
    """
    files = {}
    for split, part in rows.groupby(SPLIT):
        names = part["file"].map(os.path.basename)
        table = pd.DataFrame({"file_name": names, "caption": part[CAPTION]})
        files[f"{split}/metadata.csv"] = table.to_csv(index=False, lineterminator="\n")
    buckets = [[count, *trained.size] for count in trained.counts]
    data = {"data_root": str(trained.folder / TRAIN), "dataset_type": "video"}
    settings = {**data, "video_resolution_buckets": buckets, "reshape_mode": "bicubic"}
    files["training.json"] = as_json({"datasets": [settings]}, indent=2) + "\n"
    held_out = rows[rows[SPLIT] == VALIDATION].head(_PROMPTS)
    if len(held_out):
        height, width = trained.size
        columns = (held_out[CAPTION], held_out["frames"], held_out["fps"])
        prompts = [
            {"caption": text, "height": height, "width": width}
            | {"num_frames": int(count), "frame_rate": round(float(trained.fps or fps), 3)}
            for text, count, fps in zip(*columns, strict=True)
        ]
        files["validation.json"] = as_json({"data": prompts}, indent=2) + "\n"
    return files


def ltx_tables(rows: pd.DataFrame) -> dict[str, str]:
    """A list of objects for each split; files are named from where it stands."""
    files = {}
    for split, part in rows.groupby(SPLIT):
        # laid out by hand: json takes four times as long to indent
        objects = (
            f'  {{\n    "caption": {as_json(text)},\n    "media_path": {as_json(file)}\n  }}'
            for file, text in zip(part["file"], part[CAPTION], strict=True)
        )
        files[f"{split}.json"] = "[\n" + ",\n".join(objects) + "\n]\n"
    return files


def _ltx(rows: pd.DataFrame, trained: Trained) -> dict[str, str]:
    """The tables of its splits; the trainer takes one bucket, which all clips fill."""
    files = ltx_tables(rows)
    height, width = trained.size
    bucket = f"{width}x{height}x{min(trained.counts, default=1)}"
    files["README.md"] = (
        "Precompute with the trainer's script, in this folder:\n\n"
        f"    python scripts/preprocess_dataset.py {TRAIN}.json --resolution-buckets {bucket}"
        " --caption-column caption --video-column media_path\n"
    )
    return files


def as_json(value: object, indent: int | None = None) -> str:
    """A JSON value, which is a TOML string as well where it is one."""
    plain = str(value) if isinstance(value, Path) else value
    if indent is None:
        return _ENCODER.encode(plain)
    return json.dumps(plain, indent=indent, ensure_ascii=False)


TRAINERS = {
    "musubi": Trainer(
        Shapes(frame_step=4, size_step=16), images=True, captions_beside=False, files=_musubi
    ),
    "diffusion-pipe": Trainer(
        Shapes(frame_step=4, size_step=16), images=True, captions_beside=True, files=_diffusion_pipe
    ),
    "finetrainers": Trainer(
        Shapes(frame_step=4, size_step=32), images=False, captions_beside=False, files=_finetrainers
    ),
    "ltx": Trainer(
        Shapes(frame_step=8, size_step=32), images=False, captions_beside=False, files=_ltx
    ),
}
