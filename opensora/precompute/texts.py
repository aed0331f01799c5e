"""The text encoders that fill an embedding store, and what of their output is stored."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from opensora.models import build
from opensora.precompute.text_encoding import check_encoder_options
from opensora.stores.keys import LABELS


def build_text_encoder(
    kind: str,
    *,
    from_pretrained: str | None,
    max_length: int | None,
    num_classes: int | None,
    dtype: str,
    device: str,
) -> Any:
    """Build an encoder of captions; only what its type takes may be given.

    Args:
        kind: one of TEXT_TYPES.
        from_pretrained: folder or hub name of a network.
        max_length: tokens a caption; None is the type's own.
        num_classes: of class labels.
        dtype: "bf16" or "fp32": of the weights on a GPU (on a CPU it computes in fp32).
        device: where it runs.

    Raises:
        ConfigError: something is missing, or has no effect.
        CheckpointError: the folder can not be loaded.
    """
    check_encoder_options(
        kind, from_pretrained=from_pretrained, max_length=max_length, num_classes=num_classes
    )
    fields: dict[str, Any] = {"type": kind, "num_classes": num_classes}
    if kind != LABELS:
        fields |= {"from_pretrained": from_pretrained, "model_max_length": max_length}
    return build.build_text_encoder(fields, device, "fp32" if device == "cpu" else dtype)


def stored_rows(encoded: Mapping[str, Tensor]) -> list[Tensor]:
    """What is stored of each of B captions.

    Args:
        encoded: what an encoder returns: `y` [B, 1, L, D], with `mask` [B, L] where captions are
            padded; or labels `y` [B] int64.

    Returns:
        B tensors [tokens, D]: tokens without padding, a pooled text as one token, a label [1, 1].
    """
    y = encoded["y"]
    if y.ndim == 1:
        return list(y[:, None, None])
    rows = y[:, 0]
    if "mask" not in encoded:
        return list(rows)
    lengths = encoded["mask"].sum(1).tolist()
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]
