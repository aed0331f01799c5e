"""A workflow config that fits what was found, as a page with the comments that it needs."""

import json
import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opensora.core.errors import TableError
from opensora.curation.survey.look import Sample
from opensora.curation.survey.walk import Contents
from opensora.curation.survey.words import Words
from opensora.media.probe import VideoInfo

_READY_S = 20.0  # seconds that most ready clips stay below
_READY_SHARE = 0.9
_FILES_A_SHARD, _MOST_SHARDS = 125, 1000
_HELD_OUT = ((200, 0.05), (8, 0.2))  # (files at least, share of them that is held out)
_IN_SPLITS = "validation_fraction: 0.0 # its folders or tables say which clips are held out"
_PLAIN = re.compile(r"[\w./][\w./ -]*")
_NO_NAME, _LONGEST_NAME = re.compile(r"[^A-Za-z0-9]+"), 30
_SHORT_CLIP_S = 1.0
# as configs/workflow/mine.yaml has them: what the small models of a run can learn from
_CLIP_MIN_S, _CLIP_MAX_S, CLIP_FPS, CLIP_SIDE = 1.5, 2.0, 8, 64


@dataclass(frozen=True)
class Proposal:
    """A config and what follows from it.

    Attributes:
        text: YAML.
        mode: "reencode", "copy", or "import" where the run begins with ready clips.
        table: those, a table or a folder; "" in another mode.
        clips: how many there will be, as far as is known; 0 where they are not counted.
        min_s: seconds of the shortest clip that is kept.
        shards: into which the footage is dealt.
    """

    text: str
    mode: str
    table: str
    clips: int
    min_s: float
    shards: int


def propose(
    folder: Path,
    found: Contents,
    sample: Sample,
    words: Words,
    *,
    name: str,
    config: Path,
    prompts: Path,
) -> Proposal:
    """Write the config of a folder's run.

    Args:
        folder: with videos, clips or archives.
        found: its files.
        sample: what was seen of them.
        words: captions that there are.
        name: of the run.
        config: file that it will be.
        prompts: file of prompts.

    Raises:
        TableError: nothing in the folder can begin a run.
    """
    table = _table(sample, words)
    if not table and not sample.good:
        raise TableError(_nothing(folder, found, sample))
    number = len(found.media) or len(found.archives)
    head = [
        "# A proposal of `opensora init`. Run it in the folder of the workflow:",
        f"#   snakemake --profile profiles/local report --configfile {shlex.quote(str(config))}",
        "# configs/workflow/default.yaml explains every field.",
        f"run: {name}",
        f"num_shards: {(shards := _shards(number))}",
    ]
    if table:
        lines, mode, min_s = _of_table(table, words), "import", 0.0
        clips = _with_words(sample, words)
    elif _is_ready(sample, words):
        lines, min_s = _of_clips(folder, sample, words)
        mode = "copy"
        clips = _with_words(sample, words)
    else:
        lines, mode, min_s = _of_videos(folder, sample, words), "reencode", _CLIP_MIN_S
        cut = (_cut(info) for one, info in sample.good if words.has(one.path))
        clips = round(sample.scaled(sum(cut)))
    of = " # where neither a table nor a folder says so" if table else ""
    said = config.with_suffix(".corrections.csv")
    tail = [
        f"# `opensora browse results/{name}` writes it: better captions, clips marked out.",
        f"corrections: {_quoted(str(said))}",
        _IN_SPLITS
        if table and words.in_splits
        else f"validation_fraction: {_held_out(number)}{of}",
        *_MODELS,
    ]
    tail += ["sample:", f"  prompts: {_quoted(str(prompts))}", "  num_samples: 1"]
    text = "\n".join([*head, *lines, *tail]) + "\n"
    return Proposal(text, mode, table, clips, min_s, shards)


def _nothing(folder: Path, found: Contents, sample: Sample) -> str:
    if not sample.total:
        others = ", ".join(f"{count} {name}" for name, count in found.others.most_common(3))
        there = f" among its files ({others})" if others else "; it is empty"
        there = " beside its tables (`manifest:` takes one of clips)" if found.tables else there
        return f"{folder}: no video, picture or archive of clips{there}; name the folder with them"
    reasons = ", ".join(f"{name} {count}" for name, count in sample.left_out.most_common(3))
    return (
        f"{folder}: none of {len(sample.seen)} files that were looked into can be used ({reasons});"
        " `opensora ingest-videos` says of each why"
    )


def _table(sample: Sample, words: Words) -> str:
    """What of ready clips the run begins with; "" where footage goes through curation."""
    if words.ready or not _are_short(sample):
        return words.ready
    return words.in_splits or words.clips_of


def _with_words(sample: Sample, words: Words) -> int:
    """Files that can be used and have a caption."""
    return round(sample.scaled(sum(words.has(one.path) for one, _ in sample.good)))


def _are_short(sample: Sample) -> bool:
    short = sum(seconds <= _READY_S for seconds in sample.durations)
    return short >= _READY_SHARE * len(sample.durations)


def _is_ready(sample: Sample, words: Words) -> bool:
    """Whether most files are short and have a caption of their own."""
    has_words = words.covered(sample.total) >= _READY_SHARE * sample.total
    return has_words and _are_short(sample) and not words.has_times


def _of_table(table: str, words: Words) -> list[str]:
    if words.sources and "" not in words.sources:
        lines = [f"sources: # the data sets of {table}, each as often as its num_repeats says"]
        for name, (place, repeat) in zip(_names(words.sources), words.sources.items(), strict=True):
            given = f"name: {name}, manifest: {_quoted(place)}, repeat: {repeat:g}"
            lines.append(f"  - {{{given}}}")
        return lines
    lines = [f"manifest: {_quoted(table)}"]
    if table == words.clips_of and words.root:
        lines.append(f"root: {_quoted(words.root)} # where its paths start")
    return lines


def _names(places: Iterable[str]) -> list[str]:
    """A name of letters, digits and dashes for each place, none twice."""
    names: list[str] = []
    for number, place in enumerate(places, 1):
        name = _NO_NAME.sub("-", Path(place).resolve().stem).strip("-")[:_LONGEST_NAME] or "data"
        names.append(f"{name}-{number}" if name in names else name)
    return names


def _of_clips(folder: Path, sample: Sample, words: Words) -> tuple[list[str], float]:
    longest = max(sample.durations, default=_CLIP_MAX_S)
    min_s = min([_SHORT_CLIP_S, *sample.durations])
    lines = [
        f"videos: [{_quoted(str(folder))}]",
        "# They are clips already, short and each with its caption: nothing is cut or encoded.",
        "scenes: {detector: none}",
        f"clips: {{mode: copy, min_s: {min_s:g}, max_s: {math.ceil(longest) + 1}}}",
        *_captions(words, sample.total),
        "scorers: [technical, flow]",
    ]
    return lines, min_s


def _of_videos(folder: Path, sample: Sample, words: Words) -> list[str]:
    scenes = [f"scenes: {{table: {_quoted(words.scenes)}}}"] if words.scenes else []
    return [
        f"videos: [{_quoted(str(folder))}]",
        *scenes,
        "# Small clips for the small models below; for real work {min_s: 2, max_s: 16, fps: 24,",
        "# short_side: 512}.",
        f"clips: {{min_s: {_CLIP_MIN_S}, max_s: {_CLIP_MAX_S}, fps: {CLIP_FPS},"
        f" short_side: {CLIP_SIDE}}}",
        *_captions(words, sample.total),
        "scorers: [technical, flow]",
    ]


def _captions(words: Words, total: int) -> list[str]:
    silent = []
    if number := words.without(total):
        silent = [
            f"# {number} of {total} files have no caption and are left out (no_caption);",
            "# a model can write one for each: `transformers` or `openai`, docs/curation.md.",
        ]
    if words.tables:
        tables = ", ".join(map(_quoted, words.tables))
        return [*silent, f"captions: {{captioner: sidecar, sidecar: [{tables}]}}"]
    if words.clips_of:
        place = words.root or "the working folder"
        return [
            *silent,
            f"# Move the table to {place} first, where its paths start.",
            f"captions: {{captioner: sidecar, sidecar: [{_quoted(words.clips_of)}]}}",
        ]
    if words.beside:
        return [*silent, "captions: {captioner: sidecar} # texts beside the files"]
    return [
        "# No captions were found, so names of folders stand in. Better: a table path,start,",
        "# end,text as `{captioner: sidecar, sidecar: [mine/captions.csv]}`, or `transformers`.",
        "captions: {captioner: template}",
    ]


_MODELS = (
    "# Small encoders and a small transformer, trained on the spot in minutes: enough to see the",
    "# footage go through. For real work name weights (models.vae.from_pretrained and so on) and a",
    "# stage config of configs/opensora-v1-1.",
    "models:",
    "  clip: {config: configs/demo/clip.py}",
    "encode: {dtype: fp32, posterior: mean, max_length: 120}",
    "stages:",
    "  - {name: stage1, config: configs/demo/train/own_videos.py}",
)


def _cut(info: VideoInfo) -> int:
    """Clips that a file gives, where it is one scene."""
    if info.kind == "image":
        return 1
    return max(int(info.duration_s >= _CLIP_MIN_S), int(info.duration_s / _CLIP_MAX_S))


def _shards(number: int) -> int:
    return max(1 if number < 4 else 2, min(_MOST_SHARDS, math.ceil(number / _FILES_A_SHARD)))


def _held_out(number: int) -> float:
    return next((share for least, share in _HELD_OUT if number >= least), 0.0)


def _quoted(text: str) -> str:
    """A text as YAML has it; such as begins with a dash would be taken for an option."""
    text = f"./{text}" if text.startswith("-") else text
    is_plain = "/" in text and _PLAIN.fullmatch(text)  # a bare 2024 would be a number
    return text if is_plain else json.dumps(text, ensure_ascii=False)
