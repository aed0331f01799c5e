"""Training batches straight from video and image files: the plan says which, PyAV decodes them.

Source: Open-Sora 1.1 (`datasets/datasets.py`, VideoTextDataset and VariableVideoTextDataset).
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.buckets.bucket_config import IMAGE_FPS
from opensora.config.registry import DATASETS
from opensora.core.errors import ConfigError, TableError, VideoError
from opensora.core.text import counted
from opensora.datasets.rejects import Reject, Rejects
from opensora.media.decode import iter_wanted
from opensora.media.frames import FrameTransform, choose_window
from opensora.media.images import is_image
from opensora.media.unchanged import check_unchanged
from opensora.plans.compile import BatchPlan
from opensora.plans.settle_plan import MAX_REJECTED
from opensora.schedulers.common import Conditions
from opensora.tables.columns import CAPTION, ID, NUM_CAPTIONS, PATH, TEXT
from opensora.tables.manifest import read_manifest

log = logging.getLogger(__name__)

_COLUMNS = (ID, PATH, CAPTION, TEXT, "num_frames", "fps", "sha256")  # of the manifest


class VideoBatch(Conditions):
    """One micro batch with sizes and rate for the model; B clips of one bucket.

    `video` float32 [B, 3, T, H, W] in [-1, 1]; `text` B captions, clean as the manifest has them;
    sizes and rate are float32; `ids` B clip ids.
    """

    video: Tensor
    text: list[str]
    ids: list[str]


class _Item(NamedTuple):
    """What the manifest says of a clip."""

    path: Path
    text: str
    num_frames: int
    fps: float
    sha256: str


@DATASETS.register_module("VariableVideoTextDataset")
class VariableVideoTextDataset:
    """Micro batches of a plan by position, each clip at the size of its bucket.

    Reading one depends on nothing that was read before, and any number of threads may read.

    Attributes:
        plan: the batch plan.
        data_path: the manifest.
    """

    def __init__(
        self,
        data_path: str | Path,
        plan: str | Path,
        root: str | Path | None = None,
        num_frames: int | None = None,
        frame_interval: int | None = 1,
        image_size: Sequence[int | None] | None = None,
        transform_name: str = "resize_crop",
        *,
        seed: int = 42,
        max_rejected: float = MAX_REJECTED,
    ) -> None:
        """Read the manifest and check that plan and settings agree with it.

        Args:
            data_path: manifest, or a CSV of the reference's tools.
            plan: `plan.parquet`.
            root: folder that relative paths of the manifest start from; None = where you are.
            num_frames: frames of every batch; None = what the plan says.
            frame_interval: source frames per used frame, as the plan was made with; None = 1.
            image_size: (height, width) of every batch; None = what the plan says.
            transform_name: "resize_crop" fills the size, "center" cuts a square.
            seed: of the choice of frames.
            max_rejected: largest share of the plan's clips that may be unreadable.

        Raises:
            TableError: manifest or plan is missing, or the manifest lacks columns or clips.
            ConfigError: the settings are not those of the plan.
        """
        self.plan = BatchPlan(plan)
        self.data_path = Path(data_path)
        self._frame_interval = frame_interval or 1
        self._transform_name = transform_name
        self._seed = seed
        FrameTransform(transform_name, (1, 1))  # an unknown name is refused here
        pairs = self.plan.items()
        size = None if image_size is None or None in image_size else tuple(image_size)
        for bucket in map(Bucket.parse, pairs["bucket"].drop_duplicates()):
            self._check_bucket(bucket, num_frames, size)
        self._items = self._read_items(pairs[ID].drop_duplicates(), Path(root or ""))
        self.rejects = Rejects(len(self._items), max_rejected)
        self._unreadable: set[tuple[str, int, int]] = set()  # what need not be tried again
        buckets = self.plan.table["bucket"].combine_chunks().indices.to_numpy()
        self._of_bucket = [np.flatnonzero(buckets == k) for k in range(buckets.max() + 1)]
        self._buckets = buckets

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> VideoBatch:
        """Decode the micro batch at a flat position of the plan.

        The place of a clip that can not be read is taken by the next clip of its bucket, in the
        order of the plan from there on, that can be read and is not in the batch already; behind
        the last one the plan begins again, and a bucket without others gives one of the batch
        once more. So what a batch holds follows from plan and files.

        Raises:
            ConfigError: too many clips of the plan can not be read, or none of a bucket.
        """
        _, bucket, ids = self.plan[position]
        height, width = bucket.size
        shape = (len(ids), 3, bucket.num_frames, height, width)
        # a GPU reads page-locked memory without a further copy
        video = torch.empty(shape, pin_memory=torch.cuda.is_available())  # [B, 3, T, H, W]
        transform = FrameTransform(self._transform_name, bucket.size)
        ids = self._fill(video, position, transform)
        items = [self._items[name] for name in ids]
        of_bucket = torch.tensor([bucket.num_frames, height, width, height / width])
        num_frames, heights, widths, ratios = of_bucket[:, None].repeat(1, len(ids))
        return VideoBatch(
            video=video,
            text=[item.text for item in items],
            num_frames=num_frames,
            height=heights,
            width=widths,
            ar=ratios,
            fps=torch.tensor([self._condition_fps(item, bucket) for item in items]),
            ids=ids,
        )

    def texts(self, position: int) -> list[str]:
        """Captions that the plan has at a flat position; nothing is decoded."""
        return [self._items[name].text for name in self.plan[position].ids]

    def _condition_fps(self, item: _Item, bucket: Bucket) -> float:
        return IMAGE_FPS if bucket.is_image else item.fps / self._frame_interval

    def _fill(self, video: Tensor, position: int, transform: FrameTransform) -> list[str]:
        """Fill `video` [B, 3, T, H, W]; returns who is in it."""
        epoch, bucket, planned = self.plan[position]
        ids = list(planned)
        for place, clip in enumerate(video):
            if self._reads(clip, ids[place], epoch, transform):
                continue
            others = (name for name in self._behind(position) if name not in ids)
            inside = (name for name in self._behind(position) if name in ids)
            for name in chain(others, inside):  # the latter where a bucket has no more clips
                if self._reads(clip, name, epoch, transform):
                    ids[place] = name
                    break
            else:
                raise ConfigError(
                    f"{self.data_path}: no clip of bucket {bucket} can be read (first:"
                    f" {self._items[ids[place]].path}); restore the files, or take the clips out of"
                    " the manifest"
                )
        return ids

    def _behind(self, position: int) -> Iterator[str]:
        """Clips of the bucket of an entry, from the next entry once around the plan."""
        entries = self._of_bucket[self._buckets[position]]
        first = int(np.searchsorted(entries, position, side="right"))
        for entry in np.roll(entries, -first):
            yield from self.plan[int(entry)].ids

    def _reads(self, clip: Tensor, name: str, epoch: int, transform: FrameTransform) -> bool:
        """Fill `clip` [3, T, H, W], or note why not."""
        window = (name, epoch, clip.shape[1])
        if window in self._unreadable:
            return False
        try:
            self._read_into(clip, name, epoch, transform)
        except VideoError as error:
            path = str(self._items[name].path)
            self._unreadable.add(window)
            self.rejects.add(Reject(name, path, error.reason, error.detail))
            return False
        return True

    def _read_into(self, clip: Tensor, name: str, epoch: int, transform: FrameTransform) -> None:
        """Fill `clip` [3, T, H, W]; an image fills all frames."""
        item = self._items[name]
        check_unchanged(item.path, item.sha256)
        try:
            if is_image(item.path):
                for _, picture in iter_wanted(item.path, [0]):
                    transform(picture, clip[:, 0])
                clip[:, 1:] = clip[:, :1]
                return
            window = choose_window(
                name,
                item.num_frames,
                clip.shape[1],
                self._frame_interval,
                seed=self._seed,
                epoch=epoch,
            )
            places = {int(index): place for place, index in enumerate(window)}
            for index, picture in iter_wanted(item.path, window):
                transform(picture, clip[:, places[index]])
        except ValueError as error:  # another file than the manifest describes
            raise VideoError("too_short", str(error)) from error

    def _check_bucket(
        self, bucket: Bucket, num_frames: int | None, size: tuple[int | None, ...] | None
    ) -> None:
        """Compare a bucket of the plan with the settings."""
        height, width = bucket.size
        planned = int(self.plan.metadata.get("frame_interval", 1))
        if planned != self._frame_interval:
            raise ConfigError(
                f"dataset.frame_interval is {self._frame_interval} and the plan was made with"
                f" {planned}; make the plan again with this config"
            )
        if num_frames not in (None, bucket.num_frames) or size not in (None, bucket.size):
            raise ConfigError(
                f"dataset.num_frames is {num_frames} and dataset.image_size {size}, and the plan"
                f" holds {bucket.num_frames} frames of {bucket.size}; make the plan again with"
                " this config"
            )
        if self._transform_name == "center" and height != width:
            raise ConfigError(
                f"dataset.transform_name 'center' cuts squares and bucket {bucket} has {height} x"
                f" {width} pixels; use 'resize_crop'"
            )

    def _read_items(self, wanted: pd.Series, root: Path) -> dict[str, _Item]:
        """The rows of the manifest that the plan uses, by id."""
        manifest = read_manifest(self.data_path, columns=(*_COLUMNS, NUM_CAPTIONS))
        if CAPTION not in manifest:
            log.info("texts=as_they_are manifest=%s: import-manifest cleans them", self.data_path)
        if NUM_CAPTIONS in manifest and (manifest[NUM_CAPTIONS] > 1).any():
            log.warning(
                "captions=first manifest=%s: it has the first caption of each clip, and training"
                " from videos sees no other; training from embeddings does",
                self.data_path,
            )
        manifest = manifest[manifest[ID].isin(wanted)]
        absent = wanted[~wanted.isin(manifest[ID])]
        if len(absent):
            raise TableError(
                f"{self.data_path}: lacks {counted(len(absent), 'clip')} of the plan, the first"
                f" {absent.iloc[0]!r}; make the plan again with this manifest"
            )
        columns = (manifest[name].tolist() for name in _COLUMNS if name != CAPTION)
        return {
            name: _Item(root / path, *facts) for name, path, *facts in zip(*columns, strict=True)
        }


@DATASETS.register_module("VideoTextDataset")
class VideoTextDataset(VariableVideoTextDataset):
    """Micro batches of a plan by position, all of one size."""

    def __init__(
        self,
        data_path: str | Path,
        plan: str | Path,
        root: str | Path | None = None,
        num_frames: int = 16,
        frame_interval: int = 1,
        image_size: Sequence[int] = (256, 256),
        transform_name: str = "center",
        *,
        seed: int = 42,
        max_rejected: float = MAX_REJECTED,
    ) -> None:
        """Read the manifest; arguments and errors as VariableVideoTextDataset."""
        super().__init__(
            data_path,
            plan,
            root,
            num_frames,
            frame_interval,
            image_size,
            transform_name,
            seed=seed,
            max_rejected=max_rejected,
        )
