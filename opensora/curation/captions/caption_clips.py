"""Captioning: give every clip of a table its text, and mark the texts that no one can use."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core import limits
from opensora.core.errors import ConfigError, VideoError, did_you_mean, shown
from opensora.core.guard import Guard, call_each
from opensora.core.log import progress
from opensora.tables.columns import CAPTIONS, OK, K
from opensora.text.caption import (
    count_words,
    detect_language,
    known_languages,
    tidy_caption,
)
from opensora.text.clean import clean_caption
from opensora.text.replies import REFUSED, UNFINISHED, UNREADABLE, answer_of

ENCODING = "caption_encoding"
_REASONS = {
    REFUSED: "the model refused",
    UNFINISHED: "the reply has no finished answer",
    UNREADABLE: "the reply is an object without a text",
}
_TOO_LONG = "the caption has {} characters; at most {} are read"
_SHOWN = 60  # characters of a reply that a reason shows
SURE = 0.5  # probability above which a text is taken to be in another language


@dataclass(frozen=True)
class Clip:
    """One clip to caption.

    Attributes:
        id: of the clip.
        path: the clip file.
        source: the video or image it was cut from.
        kind: "video" or "image".
        start: seconds into the source.
        end: seconds into the source; an image has start = end = 0.
        sha256: of the clip file.
    """

    id: str
    path: Path
    source: Path
    kind: str
    start: float
    end: float
    sha256: str


@dataclass(frozen=True)
class NoCaption:
    """Why a clip has no caption.

    Attributes:
        status: the mark of its row, such as "caption_unreadable".
        detail: names the file and what is wrong with it.
    """

    status: str
    detail: str


class Captioner(ABC):
    """Gives each clip a text, or "" where it has none; the same clip always gets the same.

    Attributes:
        gives_several: whether a clip can have more than one.
        batch: clips that it is handed at once.
        columns: of the captions table that it adds; see `facts`.
    """

    gives_several = False
    batch = 32
    columns: tuple[str, ...] = ()

    @abstractmethod
    def caption(self, clips: Sequence[Clip]) -> list[str | NoCaption]:
        """Return one raw text per clip, in their order, or why it has none; "" means no caption."""

    def captions(self, clips: Sequence[Clip], most: int) -> list[list[str | NoCaption]]:
        """Return what `caption` does for each clip, and up to `most` texts where it has several."""
        return [[text] for text in self.caption(clips)]

    def prepare(self, clips: Sequence[Clip]) -> None:  # noqa: B027 - most have nothing to check
        """Look at all clips before the first is captioned.

        Raises:
            TableError: what was given for captions speaks of none of them.
        """

    def facts(self, clip: Clip) -> dict[str, Any]:
        """What `columns` say of a clip whose caption was asked for."""
        return {}

    def remarks(self) -> list[str]:
        """What a reader of the summary should know, after all clips are captioned."""
        return []


def caption_clips(
    clips: pd.DataFrame,
    captioner: Captioner,
    *,
    languages: Collection[str] = (),
    per_clip: int = 1,
) -> pd.DataFrame:
    """Caption the good rows of a CLIPS table.

    Args:
        clips: a CLIPS table.
        captioner: where the texts come from.
        languages: ISO 639 codes to keep; none keeps all. A text whose language is unclear, as of
            two words, stays.
        per_clip: most captions of a clip.

    Returns:
        A CAPTIONS table, one row per clip in the same order: `caption` is tidy, `text` is that
        cleaned for a text encoder. Where `per_clip` is above 1, one row per (id, k), the good
        captions of a clip before those with a mark. Marks are `no_caption`, `caption_too_long`,
        `caption_language`, `empty_caption` (nothing is left after cleaning), those of
        `text.replies`, `caption_encoding`, and what the captioner says; a clip that was marked
        before keeps its mark.

    Raises:
        ConfigError: an unknown language, or `per_clip` and a captioner that gives one.
        TableError: what was given for captions speaks of none of the clips.
    """
    if languages:
        _check_languages(languages)
    if per_clip < 1 or (per_clip > 1 and not captioner.gives_several):
        raise ConfigError(
            f"--per-clip {per_clip}: expected at least 1, and more than 1 with the captioner"
            " sidecar alone: the others give one caption a clip"
        )
    usable = clips[clips["status"] == OK].to_dict("records")
    if usable:
        captioner.prepare(_as_clips(usable))
    rows: list[dict[Any, Any]] = []
    with Guard("caption_clips") as guard, Guard("caption_clips") as cleaning:
        batches = list(_batches(clips, captioner.batch))
        for batch in progress(batches, description="caption_clips"):
            good = _as_clips([row for row in batch if row["status"] == OK])
            found = call_each(guard, lambda some: captioner.captions(some, per_clip), good)
            texts = dict(zip((clip.id for clip in good), found, strict=True))
            facts = {clip.id: captioner.facts(clip) for clip in good}
            for row in batch:
                given = texts.get(row["id"], [""])
                raws = [given] if isinstance(given, VideoError) else given
                made = _numbered([caption_row(cleaning, row, raw, languages) for raw in raws])
                rows += [{**each, **facts.get(row["id"], {})} for each in made]
    several = [K] if per_clip > 1 else []
    return pd.DataFrame(rows, columns=[*CAPTIONS.columns, *several, *captioner.columns])


def caption_row(
    guard: Guard,
    clip: dict[Any, Any],
    raw: str | NoCaption | VideoError,
    languages: Collection[str],
) -> dict[Any, Any]:
    """Judge and clean one caption.

    Args:
        guard: in which the text is handled.
        clip: row of a CLIPS table; one that is marked keeps its mark.
        raw: the text as it was found, or why there is none.
        languages: ISO 639 codes to keep; none keeps all.

    Returns:
        A row of a CAPTIONS table.
    """
    made = guard.call(_row, clip, raw, languages)
    return _row(clip, made, languages) if isinstance(made, VideoError) else made


def _numbered(rows: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """The captions of a clip with their numbers, the good ones first."""
    ordered = sorted(rows, key=lambda row: row["status"] != OK)
    return [{**row, K: number} for number, row in enumerate(ordered)]


def _batches(clips: pd.DataFrame, size: int) -> Iterator[list[dict[Any, Any]]]:
    records = clips.to_dict("records")
    for start in range(0, len(records), size):
        yield records[start : start + size]


def _as_clips(rows: list[dict[Any, Any]]) -> list[Clip]:
    return [
        Clip(
            id=row["id"],
            path=Path(row["path"]),
            source=Path(row["source"]),
            kind=row["kind"],
            start=float(row["start"]),
            end=float(row["end"]),
            sha256=str(row["sha256"]),
        )
        for row in rows
    ]


def _row(
    clip: dict[Any, Any], raw: str | NoCaption | VideoError, languages: Collection[str]
) -> dict[Any, Any]:
    if isinstance(raw, VideoError):
        raw = NoCaption(raw.reason, raw.detail)
    status, detail, caption, text = clip["status"], clip["detail"], "", ""
    if status == OK:
        caption, status, detail = _judge(raw, str(clip["source"]), languages)
        text = clean_caption(caption)
    if status == OK and not text:
        status, detail = "empty_caption", f"nothing is left of {caption!r} after cleaning"
    return {
        "id": clip["id"],
        "caption": caption,
        "text": text,
        "text_len": count_words(text),
        "status": status,
        "detail": detail,
    }


def _judge(raw: str | NoCaption, source: str, languages: Collection[str]) -> tuple[str, str, str]:
    """Caption, status and detail of a good clip."""
    if isinstance(raw, NoCaption):
        return "", raw.status, raw.detail
    if len(raw) > limits.REPLY_CHARACTERS:
        return "", "caption_too_long", _TOO_LONG.format(len(raw), limits.CAPTION_CHARACTERS)
    if "\0" in raw.strip("\0 \n"):
        return "", ENCODING, f"the caption of {source} holds a zero byte: {shown(raw, _SHOWN)}"
    answer = answer_of(raw)
    if answer.reason:
        return "", answer.reason, f"{_REASONS[answer.reason]}: {' '.join(raw.split())[:_SHOWN]!r}"
    if (size := len(answer.text)) > limits.CAPTION_CHARACTERS:
        return "", "caption_too_long", _TOO_LONG.format(size, limits.CAPTION_CHARACTERS)
    text = tidy_caption(answer.text)
    if not text:
        return "", "no_caption", f"no caption was found for {source}"
    if "\ufffd" in text:
        place = text.index("\ufffd")
        detail = f"character {place} of the caption of {source} was lost in another encoding"
        return "", ENCODING, f"{detail}: {text[max(0, place - 20) : place + 20]!r}"
    if languages:
        found = detect_language(text)
        if found.code not in languages and found.probability >= SURE:
            detail = f"the caption is in {found.code!r} ({found.probability:.0%} sure)"
            return text, "caption_language", detail
    return text, OK, ""


def _check_languages(languages: Collection[str]) -> None:
    known = known_languages()
    for code in languages:
        if code not in known:
            hint = did_you_mean(code, sorted(known), cutoff=0.3)
            raise ConfigError(f"--languages {code}: not an ISO 639 code such as en or de{hint}")
