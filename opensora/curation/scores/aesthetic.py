"""Aesthetic score: a small head on CLIP image features, trained on human ratings.

Source: LAION's improved aesthetic predictor (github.com/christophschuhmann/
improved-aesthetic-predictor): five linear layers without activations on unit-length ViT-L/14
features; or its predecessor, one linear layer. Ratings go from 1 to 10.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opensora.config.registry import SCORERS
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import sha256_file
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores


@SCORERS.register_module("aesthetic")
class AestheticScorer(Scorer):
    """Mean rating of the first, the middle and the last frame.

    Args:
        clip: folder or hub name of the CLIP model that the head was trained on.
        head: file of the head's weights (.pth, .pt or .safetensors).
        device: where to compute.

    Raises:
        ConfigError: no weights are named.
        CheckpointError: the file is no head, or belongs to another CLIP model.
    """

    columns = ("aes",)

    def __init__(
        self, clip: str | None = None, head: str | None = None, device: str = "cpu"
    ) -> None:
        if not clip or not head:
            raise ConfigError(
                "the scorer aesthetic needs a CLIP model and a head: get OpenAI's ViT-L/14 for"
                " open_clip and sac+logos+ava1-l14-linearMSE.pth of LAION's"
                " improved-aesthetic-predictor, and name them as clip and head in its options"
            )
        # imported here: the other scorers do without torch and open_clip
        from opensora.models.clip_model import load_clip

        self._model = load_clip(clip, device=device)
        self._weights, self._bias = read_head(Path(head))
        self._identity = f"{self._model.identity()['weights']}+{sha256_file(head)}"

    def identity(self) -> str:
        """Hashes of the CLIP model and the head."""
        return self._identity

    def choose(self, num_frames: int) -> list[int]:
        """First, middle and last frame."""
        return sorted({0, num_frames // 2, num_frames - 1})

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Score clips one by one, so that a score does not depend on its neighbours."""
        values = []
        for clip in batch:
            features = np.asarray(self._model.encode_images(clip.frames))  # [N, D], unit length
            if features.shape[1] != len(self._weights):
                raise CheckpointError(
                    f"the aesthetic head reads {len(self._weights)} features and the CLIP model"
                    f" gives {features.shape[1]}; give the model that the head was trained on"
                )
            values.append(float((features @ self._weights).mean() + self._bias))
        return {"aes": np.array(values, dtype=np.float32)}


def read_head(path: Path) -> tuple[np.ndarray, float]:
    """Read a head and multiply its layers, which have no activations between them, into one.

    Args:
        path: weights named `layers.{k}.weight` and `.bias`, or just `weight` and `bias`.

    Returns:
        float64 [D] and the bias: rating = features @ weights + bias.

    Raises:
        CheckpointError: not such a file.
    """
    from opensora.models.weights.files import read_weights

    tensors = {name: value.double().numpy() for name, value in read_weights(path).items()}
    layers = sorted(
        (name.removesuffix("weight") for name in tensors if name.endswith("weight")),
        key=lambda name: [int(number) for number in re.findall(r"\d+", name)],
    )
    try:
        weights, bias = tensors[layers[0] + "weight"], tensors[layers[0] + "bias"]
        for layer in layers[1:]:
            weights = tensors[layer + "weight"] @ weights
            bias = tensors[layer + "weight"] @ bias + tensors[layer + "bias"]
        if weights.shape[0] != 1:
            raise ValueError(f"{weights.shape[0]} outputs")
        return weights[0], float(bias[0])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not an aesthetic head (linear layers from features to one rating): {error}"
        ) from error
