"""Tables of public data sets: which seconds of which downloaded video a caption speaks of.

Columns as the sets publish them, looked up in November 2026:

- Panda-70M: `videoID`, lists of [start, end] in `timestamp` and of texts in `caption`.
- Koala-36M: a row a clip; `videoID` is the video's id with a number behind it, `url` names the
  video, `timestamp` is one [start, end].
- InternVid: a row a clip; `YoutubeID`, `Start_timestamp`, `End_timestamp`, `Caption`.
- HD-VG-130M: a JSON object of videos by id, of which `clip` is one of clips with `span` (clock),
  `fps` and a list `scene_split` of `scene_cut` (first and last frame of the span, -1 its end) and
  `caption`. The set's own cutter takes what lies between these frames, without them.

Videos are told by their id: files `ID.mp4`, or `Title [ID].mp4` as yt-dlp names them.
"""

import ast
import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from opensora.core.limits import check_depth
from opensora.tables.clock import seconds_of

_IN_BRACKETS = re.compile(r".*\[([\w-]+)\]", re.DOTALL)
_IN_ADDRESS = re.compile(r"(?:[?&]v=|youtu\.be/)([\w-]+)")


class PublicSpan(NamedTuple):
    """A caption of [start, end) seconds; the end is None where it is the video's."""

    start: float
    end: float | None
    text: str


@dataclass(frozen=True)
class PublicTable:
    """What a set calls its columns.

    Attributes:
        name: of the set.
        columns: by which it is known.
        video: column of the video's id.
        times: column of [start, end], or those of both.
        text: column of captions.
        several: a row is a video, with lists of times and captions; else a clip.
        url: column of the video's address, where `video` is the id of a clip.
        cut: column of [first, last] frame of the clip between the times, at the rate of `fps`.
    """

    name: str
    columns: frozenset[str]
    video: str
    times: tuple[str, ...]
    text: str
    several: bool = False
    url: str = ""
    cut: str = ""

    def video_of(self, row: dict[Any, Any]) -> str:
        """The id of the video that a row speaks of."""
        name = str(row[self.video])
        if not self.url:
            return name
        found = _IN_ADDRESS.search(str(row[self.url]))
        return found[1] if found else name.rpartition("_")[0]

    def spans_of(self, row: dict[Any, Any]) -> list[PublicSpan]:
        """The captions of a row with their seconds.

        Raises:
            ValueError: it has not what the set has there.
        """
        try:
            return list(self._spans(row))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            what = f"[start, end] in {' and '.join(self.times)}, and a text in {self.text}"
            if self.cut:
                what = f"fps above 0, [first, last] frame in {self.cut}, {what}"
            if self.several:
                what = f"as many [start, end] pairs in {self.times[0]} as texts in {self.text}"
            raise ValueError(
                f"{self.video} {row[self.video]!r}: expected {what} ({error})"
            ) from error

    def _spans(self, row: dict[Any, Any]) -> Iterator[PublicSpan]:
        if len(self.times) > 1:
            pairs, texts = [[row[name] for name in self.times]], [row[self.text]]
        elif self.several:
            pairs, texts = _listed(row[self.times[0]]), _listed(row[self.text])
        else:
            pairs, texts = [_listed(row[self.times[0]])], [row[self.text]]
        for (start, end), text in zip(pairs, texts, strict=True):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no text")
            span = PublicSpan(seconds_of(start) or 0.0, seconds_of(end), text)
            yield self._cut(span, row) if self.cut else span

    def _cut(self, span: PublicSpan, row: dict[Any, Any]) -> PublicSpan:
        """The scene of a span: its frames stand between the two that the row names."""
        first, last = (int(frame) for frame in _listed(row[self.cut]))
        fps = float(row["fps"])
        if not 0 < fps < math.inf:
            raise ValueError(f"{fps:g} frames a second")
        if last == -1:
            return span
        start, end = (span.start + frame / fps for frame in (first + 1, last))
        return span._replace(start=round(start, 6), end=round(end, 6))


_PANDA = ("videoID", "timestamp", "caption")
TABLES = (
    PublicTable(
        "Koala-36M",
        frozenset({*_PANDA, "url", "video_training_suitability_score"}),
        *("videoID", ("timestamp",), "caption"),
        url="url",
    ),
    PublicTable("Panda-70M", frozenset(_PANDA), "videoID", ("timestamp",), "caption", several=True),
    PublicTable(
        "InternVid",
        frozenset({"YoutubeID", "Start_timestamp", "End_timestamp", "Caption"}),
        *("YoutubeID", ("Start_timestamp", "End_timestamp"), "Caption"),
    ),
    PublicTable(
        "HD-VG-130M",
        frozenset({"video_id", "span", "fps", "scene_cut", "caption"}),
        *("video_id", ("span",), "caption"),
        cut="scene_cut",
    ),
)


def rows_of_videos(found: object) -> object:
    """Rows of an object of videos, as HD-VG-130M publishes; whatever else it is as it is.

    Raises:
        ValueError: a video, clip or scene lacks what it has there.
    """
    if not isinstance(found, dict) or not all(map(_has_clips, found.values())):
        return found
    rows: list[dict[str, Any]] = []
    for video, facts in found.items():
        for name, clip in facts["clip"].items():
            try:
                whole = {"video_id": video, "span": clip["span"], "fps": clip["fps"]}
                for scene in clip["scene_split"]:
                    cut = {"scene_cut": scene["scene_cut"], "caption": scene["caption"]}
                    rows.append({**whole, "clip_id": scene["clip_id"], **cut})
            except (KeyError, TypeError) as error:
                raise ValueError(
                    f"{video}, {name}: expected span, fps and scene_split, a list of clip_id,"
                    f" scene_cut and caption ({error})"
                ) from error
    return rows


def _has_clips(facts: object) -> bool:
    return isinstance(facts, dict) and isinstance(facts.get("clip"), dict)


def public_table(columns: Collection[str]) -> PublicTable | None:
    """The set that a table with these columns is of; None where it is of none."""
    return next((table for table in TABLES if table.columns <= set(columns)), None)


def video_ids(path: str | os.PathLike[str]) -> list[str]:
    """By which ids a video's file may be known: its name, or what stands in brackets behind it."""
    stem = os.path.splitext(os.path.basename(path))[0]
    found = _IN_BRACKETS.fullmatch(stem)
    return [stem, found[1]] if found else [stem]


def _listed(cell: Any) -> Any:
    """The list of a cell: as text in CSV, as it is in Parquet."""
    if not isinstance(cell, str):
        return list(cell)
    check_depth(cell)
    return ast.literal_eval(cell)
