"""Frame masks for training: which frames of a clip are noised and which stay clean as a condition.

Source: Open-Sora 1.1 and 1.2 (`utils/train_utils.py`, MaskGenerator).
"""

import math
import random
from collections.abc import Mapping

import torch
from torch import Tensor

from opensora.core.errors import ConfigError, did_you_mean

NO_MASK = "mask_no"
MASK_NAMES = (
    NO_MASK,
    "mask_quarter_random",
    "mask_quarter_head",
    "mask_quarter_tail",
    "mask_quarter_head_tail",
    "mask_image_random",
    "mask_image_head",
    "mask_image_tail",
    "mask_image_head_tail",
    "random",
    "interpolate",
)
_QUARTER = "mask_quarter_"
# other names: those of 1.2 without a prefix, one of them misspelt there, and those of the configs
# that add masks to 1.0, where a quarter was the only length
_ALIASES = (
    {name.removeprefix("mask_"): name for name in MASK_NAMES[1:-2]}
    | {f"mask_{place}": _QUARTER + place for place in ("random", "head", "tail", "head_tail")}
    | {"identity": NO_MASK, "intepolate": "interpolate"}
)
_TOLERANCE = 1e-6
_CLEAN_SHARE = (0.1, 0.9)  # "random" keeps this share of frames clean


class MaskGenerator:
    """Draw frame masks; True = the frame is noised and trained on, False = it stays clean.

    "quarter" masks keep up to a quarter of the frames clean (at least one), "image" masks one; at
    a random place, the head, the tail, or both ends. "random" keeps each frame with one random
    chance, "interpolate" every second frame. At least one frame is always noised.
    """

    def __init__(self, mask_ratios: Mapping[str, float]) -> None:
        """Check and store the shares.

        Args:
            mask_ratios: name -> share of clips, in [0, 1]; the rest has no mask.

        Raises:
            ConfigError: unknown name, a share outside [0, 1], or shares that do not sum to 1.
        """
        self.mask_ratios: dict[str, float] = {}
        for name, ratio in mask_ratios.items():
            known = _ALIASES.get(name, name)
            if known not in MASK_NAMES:
                hint = did_you_mean(known, (*MASK_NAMES, *_ALIASES), cutoff=0)
                raise ConfigError(f"mask_ratios: unknown mask {name!r}{hint}")
            if not isinstance(ratio, int | float) or not 0.0 <= ratio <= 1.0 + _TOLERANCE:
                raise ConfigError(f"mask_ratios: {name} = {ratio}; expected a share in [0, 1]")
            self.mask_ratios[known] = self.mask_ratios.get(known, 0.0) + float(ratio)
        self.mask_ratios.setdefault(NO_MASK, 1.0 - sum(self.mask_ratios.values()))
        total = sum(self.mask_ratios.values())
        if self.mask_ratios[NO_MASK] < -_TOLERANCE or not math.isclose(
            total, 1.0, abs_tol=_TOLERANCE
        ):
            raise ConfigError(f"mask_ratios: the shares sum to {total:g}; expected 1")

    def get_masks(self, batch_size: int, num_frames: int, rng: random.Random) -> Tensor:
        """Draw one mask per clip.

        Args:
            batch_size: B.
            num_frames: T of the latents.
            rng: source of chance; equal states give equal masks.

        Returns:
            bool [B, T].
        """
        return torch.stack([self.get_mask(num_frames, rng) for _ in range(batch_size)])

    def get_mask(self, num_frames: int, rng: random.Random) -> Tensor:
        """Draw the mask of one clip, bool [T]."""
        name = self._draw_name(rng.random())
        mask = torch.ones(num_frames, dtype=torch.bool)
        if num_frames == 1 or name == NO_MASK:
            return mask
        if name == "random":
            share = rng.uniform(*_CLEAN_SHARE)
            mask = torch.tensor([rng.random() > share for _ in range(num_frames)])
        elif name == "interpolate":
            mask[rng.randint(0, 1) :: 2] = False
        else:
            # the reference fails below four frames, where a quarter is less than one
            is_quarter = name.startswith(_QUARTER)
            length = rng.randint(1, max(num_frames // 4, 1)) if is_quarter else 1
            if name.endswith("_random"):
                start = rng.randint(0, num_frames - length)
                mask[start : start + length] = False
            if "_head" in name:
                mask[:length] = False
            if name.endswith("_tail"):
                mask[-length:] = False
        if not mask.any():
            mask[-1] = True
        return mask

    def _draw_name(self, draw: float) -> str:
        accumulated = 0.0
        for name, ratio in self.mask_ratios.items():
            accumulated += ratio
            if draw < accumulated:
                return name
        return NO_MASK  # the shares may sum to a hair less than one
