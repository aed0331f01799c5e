"""Does a sample begin with the picture that it was given? In pixels, in structure, to a CLIP."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opensora.config.registry import METRICS
from opensora.core.io import read_json, sha256_once
from opensora.evaluation.metric import NO_CLIP, EvaluationInputs, Metric, prompts_of
from opensora.evaluation.statistics import summarise
from opensora.evaluation.stills import embed_stills, ssim
from opensora.media.frames import iter_fitted, psnr, to_uint8
from opensora.sampling.conditioning import MaskRule, parse_mask_strategy
from opensora.tables.columns import ID, PATH
from opensora.tables.prompts import REFERENCES

log = logging.getLogger(__name__)


class FirstFrame(Metric):
    """The first frame of a sample beside the frame of a reference that it was to begin with.

    Samples without one, or with one that was to be edited, have no value. Both are looked at in
    the size that was sampled.
    """

    version = 1
    better = "higher"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs a sample that begins with a reference."""
        if not any(map(_given, inputs.samples[PATH])):
            return "no sample begins with a frame of a reference"
        return None

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Compare first frames.

        Returns:
            One value a sample; null where nothing was given, or what was given is gone.
        """
        values = {}
        for row in inputs.samples.to_dict("records"):
            pair = first_frames(Path(row[PATH]))
            values[row[ID]] = None if pair is None else self.compare(inputs, *pair)
        return {**summarise(values, prompts_of(inputs.samples)), **self.identity(inputs)}

    def identity(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """What else decides the values."""
        return {}

    def compare(self, inputs: EvaluationInputs, given: Tensor, made: Tensor) -> float:
        """Compare two pictures uint8 [3, H, W]."""
        raise NotImplementedError


@METRICS.register_module("first_frame_psnr")
class FirstFramePsnr(FirstFrame):
    """Peak signal-to-noise ratio; an exact copy has none."""

    name = "first_frame_psnr"
    unit = "dB"

    def compare(self, inputs: EvaluationInputs, given: Tensor, made: Tensor) -> float:
        """In decibels."""
        return float(psnr(given[None], made[None]))


@METRICS.register_module("first_frame_ssim")
class FirstFrameSsim(FirstFrame):
    """Structural similarity."""

    name = "first_frame_ssim"
    unit = "SSIM"

    def compare(self, inputs: EvaluationInputs, given: Tensor, made: Tensor) -> float:
        """At most 1."""
        return ssim(given, made)


@METRICS.register_module("first_frame_clip")
class FirstFrameClip(FirstFrame):
    """Cosine of the CLIP embeddings: whether it shows the same, whatever the pixels."""

    name = "first_frame_clip"
    unit = "cosine"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs a CLIP model as well."""
        return super().missing(inputs) if inputs.clip else NO_CLIP

    def identity(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """The CLIP."""
        return {"model": inputs.clip_model.identity()}

    def compare(self, inputs: EvaluationInputs, given: Tensor, made: Tensor) -> float:
        """At most 1."""
        pictures = torch.stack((given, made)).permute(0, 2, 3, 1).numpy()
        one, other = embed_stills(inputs.clip_model, pictures)
        return float(np.dot(one, other))


def first_frames(sample: Path) -> tuple[Tensor, Tensor] | None:
    """What a sample was to begin with, and how it begins: uint8 [3, H, W] each.

    None where nothing was given, or its file is gone or another one.
    """
    found = _given(sample)
    if found is None:
        return None
    record, rule = found
    reference = record["references"][rule.reference]
    file = _find(reference, sample.parent)
    if file is None:
        log.warning("first_frame sample=%s reference_gone=%s", sample.name, reference["name"])
        return None
    size = (record["height"], record["width"])
    return _frame(file, rule.reference_start, size), _frame(sample, 0, size)


def _given(sample: str | Path) -> tuple[dict[str, Any], MaskRule] | None:
    """The record of a sample that begins with a frame as a reference has it, and the rule."""
    file = Path(sample).with_suffix(".json")
    record = read_json(file) if file.is_file() else {}
    rules = parse_mask_strategy(record.get("mask_strategy"))
    begins = [rule for rule in rules if rule.loop == 0 and rule.start == 0 and rule.length > 0]
    if not begins or begins[-1].edit_ratio > 0 or not record.get("references"):
        return None
    last = begins[-1]  # where rules overlap the later one wins
    # of an autoencoder along time rules count latent frames, of which only the first is one frame
    if last.reference_start and record["vae"]["patch_size"][0] > 1:
        return None
    return record, last


def _find(reference: dict[str, str], folder: Path) -> Path | None:
    """The file of a reference, by its content: where it was named, or fetched beside the samples.

    Nothing is fetched here.
    """
    fetched = folder / REFERENCES
    places = [Path(reference["name"]), *(sorted(fetched.iterdir()) if fetched.is_dir() else [])]
    for place in places:
        if place.is_file() and sha256_once(place) == reference["sha256"]:
            return place
    return None


def _frame(file: Path, position: int, size: tuple[int, int]) -> Tensor:
    """One frame as it was encoded: scaled to fill the size, cut in the middle."""
    if position >= 0:
        frames = list(iter_fitted(file, size, start=position, stop=position + 1))
    else:
        frames = list(iter_fitted(file, size))[position:][:1]
    return torch.from_numpy(to_uint8(frames[0][:, None])[0]).permute(2, 0, 1)
