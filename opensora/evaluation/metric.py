"""What a metric gets, and what a metric is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from opensora.core.errors import TableError
from opensora.models.clip_model import ClipModel, load_clip
from opensora.tables.columns import ID, PATH, SAMPLES
from opensora.tables.io import read_table


@dataclass(frozen=True)
class EvaluationInputs:
    """Everything a metric may look at; optional parts are None when the user has none.

    Attributes:
        samples: SAMPLES table with absolute paths.
        truth: folder with `prompts.csv` and `scenes.csv` of a world whose truth is known.
        clip: folder or hub name of a CLIP model.
        manifest: the manifest the model was trained on.
        vae: folder of the VAE that decoded the samples.
        checkpoint: weights that made the samples, with their training config beside them.
        held_out: plan of clips that no step trained on.
        scorers: options of scorers by their name.
        features: weights of EfficientNet-Lite0 or of I3D.
        device: where the networks run.
    """

    samples: pd.DataFrame
    truth: Path | None = None
    clip: str | None = None
    manifest: Path | None = None
    vae: str | None = None
    checkpoint: Path | None = None
    held_out: Path | None = None
    scorers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    features: Path | None = None
    device: str = "cpu"

    @cached_property
    def clip_model(self) -> ClipModel:
        """The CLIP, loaded once for all metrics; one is named."""
        assert self.clip is not None  # missing() was asked first
        return load_clip(self.clip, self.device)


class Metric(ABC):
    """One measurement; subclasses register themselves under their `name` in METRICS."""

    name: ClassVar[str]
    version: ClassVar[int]  # raise it when the numbers change for equal inputs
    of: ClassVar[Literal["samples", "clips"]] = "samples"  # whose ids its values have
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["higher", "lower"] | None] = None

    @abstractmethod
    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Say in one sentence which input is missing; None when the metric can run."""

    @abstractmethod
    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Measure; the result holds JSON values only.

        Returns:
            `mean`, `low`, `high`, `count` and `samples` as `statistics.summarise` makes them, and
            what else the metric has to say; `skipped`, if parts had no input: part -> reason.
        """


NO_CLIP = "no CLIP model (--clip was not given)"


def prompts_of(samples: pd.DataFrame) -> dict[str, str]:
    """The prompt of each sample by its id: samples of one prompt are one group."""
    return dict(zip(samples[ID], samples["prompt"], strict=True))


def read_samples(path: str | Path) -> pd.DataFrame:
    """Read a SAMPLES table and make its paths absolute.

    Raises:
        TableError: the table is missing or empty, lacks a column, or names a missing file.
    """
    path = Path(path)
    frame = read_table(path, SAMPLES)
    if frame.empty:
        raise TableError(f"{path}: no samples to evaluate; rule sample makes them")
    files = [(path.parent / name).resolve() for name in frame[PATH]]
    absent = next((file for file in files if not file.is_file()), None)
    if absent is not None:
        raise TableError(f"{path}: sample {absent} does not exist; run rule sample again")
    return frame.assign(**{PATH: [str(file) for file in files]})
