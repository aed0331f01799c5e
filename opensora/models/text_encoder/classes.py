"""Class labels in the place of text."""

from typing import Any

import torch
from torch import Tensor

from opensora.config.registry import MODELS
from opensora.core.errors import ConfigError


@MODELS.register_module("classes")
class ClassEncoder:
    """Captions that are class numbers.

    Args:
        num_classes: labels 0 .. num_classes - 1; num_classes itself means "no class".
        device: where the labels live.
    """

    num_tokens = 1  # of a text, whatever its length

    def __init__(self, num_classes: int, device: str | torch.device = "cpu") -> None:
        self.num_classes = num_classes
        self.device = torch.device(device)

    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Labels of B numbers written as text: `y` [B] int64.

        Raises:
            ConfigError: not the number of a class.
        """
        for entry in text:
            if not entry.strip().isdecimal() or int(entry) >= self.num_classes:
                raise ConfigError(
                    f"text {entry!r} is not a class; give numbers from 0 to {self.num_classes - 1}"
                )
        return {"y": torch.tensor([int(entry) for entry in text], device=self.device)}

    def null(self, n: int) -> dict[str, Tensor]:
        """The label "no class" for n samples: `y` [n] int64."""
        return {"y": torch.full((n,), self.num_classes, device=self.device)}

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "ClassEncoder":
        """Make labels on another device; a dtype has no meaning for labels."""
        self.device = torch.device(device) if device is not None else self.device
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the labels: stored with what is made from them."""
        return {"type": "classes", "num_classes": self.num_classes}
