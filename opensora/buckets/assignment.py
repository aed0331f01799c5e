"""A bucket config as one lookup table: where a clip goes, for whole columns at once.

Where a clip may go depends on two small numbers: how many resolutions it is large enough for and
how many lengths it fills. For each pair of them the table lists the buckets that would be tried
with the chance of each, so one uniform number per clip picks the place, with the same
distribution as asking for one bucket after the other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opensora.buckets.aspect import Resolution, get_resolution, ratio_steps
from opensora.buckets.bucket_config import IMAGE_FRAMES, BucketRule
from opensora.buckets.crop import kept_ratios
from opensora.core.seed import chunks

TOO_SMALL = "too_small"  # fewer pixels than the smallest resolution wants
TOO_SHORT = "too_short"  # fewer frames than the shortest bucket of a fitting resolution
NO_IMAGE_BUCKET = "no_image_bucket"
NO_VIDEO_BUCKET = "no_video_bucket"
NOT_KEPT = "not_kept"  # fits, but every keep probability said no this epoch
TOO_MUCH_CROP = "too_much_crop"  # its bucket would cut away more than max_crop
REASONS = ("", TOO_SMALL, TOO_SHORT, NO_IMAGE_BUCKET, NO_VIDEO_BUCKET, NOT_KEPT, TOO_MUCH_CROP)

DRAW_BITS = 44  # of a uniform number; the row of the table takes the bits above


@dataclass(frozen=True)
class FoundBuckets:
    """What `ChoiceTable.choose` says of N clips.

    Attributes:
        resolution: int16 [N], index into `ChoiceTable.resolutions`.
        num_frames: int32 [N], 0 where there is no bucket.
        aspect_ratio: int16 [N], index into `ChoiceTable.ratios`.
        height: int32 [N] pixels, 0 where there is no bucket.
        width: int32 [N] pixels.
        reason: int16 [N], index into REASONS; 0 where there is a bucket.
    """

    resolution: NDArray[np.int16]
    num_frames: NDArray[np.int32]
    aspect_ratio: NDArray[np.int16]
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    reason: NDArray[np.int16]


class BucketLookup:
    """The rules of a bucket config, compiled.

    Attributes:
        resolutions: names, the first one "" for "no bucket".
        ratios: keys of aspect ratios, the first one "".
        is_random: whether `choose` needs draws.
    """

    def __init__(
        self,
        rules: Sequence[BucketRule],
        frame_interval: int = 1,
        *,
        max_crop: float | None = None,
    ) -> None:
        """Compile.

        Args:
            rules: what `parse_bucket_config` returned, in its order.
            frame_interval: source frames per used frame.
            max_crop: share of a clip's pixels that its bucket may cut away; None is any.
        """
        self._max_crop = max_crop
        self._rules = list(rules)
        self._interval = frame_interval
        self.is_random = any(rule.is_random for rule in rules)
        names = dict.fromkeys(rule.resolution for rule in rules)
        tables = [get_resolution(name) for name in names]
        self.resolutions = ["", *names]
        self.ratios = ["", *dict.fromkeys(key for table in tables for key in table.sizes)]
        self._areas = sorted({math.ceil(table.min_pixels) for table in tables})
        self._lengths = sorted(
            {rule.num_frames * frame_interval for rule in rules if rule.num_frames > IMAGE_FRAMES}
        )
        self._compile_outcomes()
        self._compile_sizes(tables)
        if max_crop is not None:
            self._compile_crops()

    def choose(
        self,
        num_frames: np.ndarray,
        height: np.ndarray,
        width: np.ndarray,
        draws: np.ndarray | None = None,
    ) -> FoundBuckets:
        """Choose a bucket for every clip.

        Args:
            num_frames: int [N].
            height: int [N] pixels.
            width: int [N] pixels.
            draws: uint64 [N], uniform below 2**DRAW_BITS; needed where `is_random`.
        """
        if self.is_random and draws is None:
            raise ValueError("the bucket config is random: draws are needed")
        count = len(num_frames)
        small = [np.empty(count, dtype=np.int16) for _ in range(3)]
        large = [np.empty(count, dtype=np.int32) for _ in range(3)]
        for rows in chunks(count):
            high, wide = height[rows].astype(np.int64), width[rows].astype(np.int64)
            outcome = self._outcome(num_frames[rows], high * wide, draws, rows)
            place = np.searchsorted(self._ratio_steps, high / wide, side="right")
            place += outcome * (len(self._ratio_steps) + 1)
            # with a limit on the crop, the shape as well decides whether there is a bucket
            which = outcome if self._max_crop is None else place
            self._resolution.take(which, out=small[0][rows], mode="clip")
            self._ratio.take(place, out=small[1][rows], mode="clip")
            self._reason.take(which, out=small[2][rows], mode="clip")
            self._frames.take(which, out=large[0][rows], mode="clip")
            self._height.take(place, out=large[1][rows], mode="clip")
            self._width.take(place, out=large[2][rows], mode="clip")
        return FoundBuckets(small[0], large[0], small[1], large[1], large[2], small[2])

    def expected_clips(
        self, num_frames: np.ndarray, height: np.ndarray, width: np.ndarray, epochs: int
    ) -> dict[tuple[str, int, str], float]:
        """Expect how many different clips each bucket has seen after some epochs.

        A clip whose chance is p in each epoch is seen at least once with 1 - (1 - p)**epochs.

        Args:
            num_frames: int [N].
            height: int [N] pixels.
            width: int [N] pixels.
            epochs: passes over the clips, each with draws of its own.

        Returns:
            (resolution, number of frames, aspect ratio) -> number of clips, before any back-off.
        """
        columns = len(self._ratio_steps) + 1
        counts = np.zeros(len(self._chances_of) * columns, dtype=np.int64)
        for rows in chunks(len(num_frames)):
            high, wide = height[rows].astype(np.int64), width[rows].astype(np.int64)
            row = self._row(num_frames[rows], high * wide)
            place = np.searchsorted(self._ratio_steps, high / wide, side="right")
            counts += np.bincount(row * columns + place, minlength=len(counts))
        expected: dict[tuple[str, int, str], float] = {}
        for number in map(int, np.flatnonzero(counts)):
            row_number, column = divmod(number, columns)
            left = 1.0
            for outcome, rest in self._chances_of[row_number]:
                chance, left = left - rest, rest
                if outcome < len(self._rules):
                    rule = self._rules[outcome]
                    key = self.ratios[int(self._ratio[outcome * columns + column])]
                    if not key:  # too much would be cut away
                        continue
                    bucket = (rule.resolution, rule.num_frames, key)
                    seen = float(counts[number]) * (1 - (1 - chance) ** epochs)
                    expected[bucket] = expected.get(bucket, 0.0) + seen
        return expected

    def _row(self, frames: np.ndarray, area: np.ndarray) -> np.ndarray:
        """Row of the table for each clip of a chunk."""
        row = np.zeros(len(frames), dtype=np.int64)
        for step in self._areas:
            row += area >= step
        row *= len(self._lengths) + 2
        length = np.ones(len(frames), dtype=np.int64)  # 0 is an image
        for step in self._lengths:
            length += frames >= step
        row += np.where(frames == IMAGE_FRAMES, 0, length)
        return row

    def _outcome(
        self, frames: np.ndarray, area: np.ndarray, draws: np.ndarray | None, rows: slice
    ) -> np.ndarray:
        """Index of the rule of each clip of a chunk, or that of a reason after all rules."""
        row = self._row(frames, area)
        if draws is None or not self.is_random:
            return self._first[row]
        keys = (row.astype(np.uint64) << np.uint64(DRAW_BITS)) | draws[rows]
        return self._outcomes[np.searchsorted(self._bounds, keys, side="right")]

    def _compile_outcomes(self) -> None:
        """List, for each row of the table, the outcomes and the draw at which each one ends."""
        areas = [0, *self._areas]
        lengths = [IMAGE_FRAMES, 0, *self._lengths]
        self._chances_of = [
            self._chances(area, frames, is_image=index == 0)
            for area in areas
            for index, frames in enumerate(lengths)
        ]
        outcomes = [outcome for chances in self._chances_of for outcome, _ in chances]
        bounds = [
            (row << DRAW_BITS) + round((1 - left) * 2**DRAW_BITS)
            for row, chances in enumerate(self._chances_of)
            for _, left in chances
        ]
        self._outcomes = np.array(outcomes, dtype=np.int64)
        self._bounds = np.array(bounds, dtype=np.uint64)
        self._first = np.array([chances[0][0] for chances in self._chances_of], dtype=np.int64)
        used = [self.resolutions.index(rule.resolution) for rule in self._rules]
        none = [0] * len(REASONS)
        self._resolution = np.array([*used, *none], dtype=np.int16)
        self._frames = np.array([*(r.num_frames for r in self._rules), *none], dtype=np.int32)
        reasons = [*(0 for _ in self._rules), *range(len(REASONS))]
        self._reason = np.array(reasons, dtype=np.int16)

    def _chances(self, area: int, frames: int, *, is_image: bool) -> list[tuple[int, float]]:
        """Outcomes of a clip that is just so large and long, in the order in which they are tried.

        Returns:
            (outcome, chance that neither this nor an earlier one is the outcome); the last 0.
        """
        chances: list[tuple[int, float]] = []
        searching, fits_any = 1.0, False
        for name in self.resolutions[1:]:
            if get_resolution(name).min_pixels > area:
                continue
            leaving = 0.0  # this length was meant, but the clip is not kept at this resolution
            for index, rule in enumerate(self._rules):
                if rule.resolution != name or not self._fills(rule, frames, is_image):
                    continue
                fits_any = True
                meant = searching * rule.frames_prob
                searching *= 1 - rule.frames_prob
                leaving += meant * (1 - rule.keep_prob)
                if meant * rule.keep_prob > 0:
                    chances.append((index, searching + leaving))
            searching += leaving
        if searching > 0:
            reason = NOT_KEPT if fits_any else self._missing(area, is_image)
            chances.append((len(self._rules) + REASONS.index(reason), 0.0))
        return chances

    def _fills(self, rule: BucketRule, frames: int, is_image: bool) -> bool:
        if rule.num_frames == IMAGE_FRAMES:
            return is_image or get_resolution(rule.resolution).is_fixed
        return not is_image and frames >= rule.num_frames * self._interval

    def _missing(self, area: int, is_image: bool) -> str:
        """Why nothing fits a clip at all."""
        if area < self._areas[0]:
            return TOO_SMALL
        if is_image:
            return NO_IMAGE_BUCKET
        has_videos = any(rule.num_frames > IMAGE_FRAMES for rule in self._rules)
        return TOO_SHORT if has_videos else NO_VIDEO_BUCKET

    def _compile_sizes(self, tables: Sequence[Resolution]) -> None:
        """Tabulate aspect ratio, height and width by outcome and by interval of height / width."""
        steps = {table.name: ratio_steps(table) for table in tables}
        # between two neighbouring steps of any table, every table has one nearest ratio, and with
        # max_crop each size takes all clips or none
        bounds = {start for table in steps.values() for start, _ in table}
        if self._max_crop is not None:
            sizes_of_all = {size for table in tables for size in table.sizes.values()}
            bounds |= {b for size in sizes_of_all for b in kept_ratios(*size, self._max_crop)}
        starts = sorted(bounds)
        self._ratio_steps = np.array(starts[1:])
        ratios, heights, widths = np.zeros((3, len(self._resolution), len(starts)), dtype=np.int32)
        for index, rule in enumerate(self._rules):
            own = steps[rule.resolution]
            sizes = get_resolution(rule.resolution).sizes
            for column, start in enumerate(starts):
                key = next(key for first, key in reversed(own) if first <= start)
                ratios[index, column] = self.ratios.index(key)
                heights[index, column], widths[index, column] = sizes[key]
        self._ratio = ratios.ravel().astype(np.int16)
        self._height, self._width = heights.ravel(), widths.ravel()

    def _compile_crops(self) -> None:
        """Take the bucket away from shapes of which it would cut away more than `max_crop`."""
        assert self._max_crop is not None
        columns = len(self._ratio_steps) + 1
        for name in ("_resolution", "_frames", "_reason"):
            setattr(self, name, np.repeat(getattr(self, name), columns))
        start = np.tile([0.0, *self._ratio_steps], len(self._height) // columns)
        is_cut = np.zeros(len(self._height), dtype=bool)
        for place in np.flatnonzero(self._frames):
            size = int(self._height[place]), int(self._width[place])
            low, high = kept_ratios(*size, self._max_crop)
            is_cut[place] = not low <= start[place] < high
        for table in (self._resolution, self._frames, self._ratio, self._height, self._width):
            table[is_cut] = 0
        self._reason[is_cut] = REASONS.index(TOO_MUCH_CROP)
