"""The ceiling of the samples: what the detector sees on real clips and on VAE reconstructions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.config.registry import METRICS
from opensora.core.errors import TableError
from opensora.evaluation.metric import EvaluationInputs, Metric
from opensora.evaluation.real_clips import choose_clips, fitted, read_clip, view_of
from opensora.evaluation.statistics import summarise
from opensora.evaluation.verdicts import (
    ATTRIBUTES,
    Attributes,
    detect_attributes,
    judge_samples,
    known_values,
)
from opensora.media.frames import psnr, to_uint8
from opensora.models.build import load_autoencoder
from opensora.sampling.references import whole_frames
from opensora.tables.columns import ID, PATH
from opensora.tables.io import read_table

MAX_CLIPS = 96  # per split; gives an interval of about +-10 % and takes seconds at demo size
_FRAMES_AT_ONCE = 8  # per pass through the VAE; bounds its memory
MIN_OVERLAP = 0.5  # part of a clip that must lie in one scene for the scene's truth to be its own


@dataclass(frozen=True)
class _Look:
    """What one clip gave: PSNR in dB, and what the detector saw before and after the VAE."""

    psnr: float
    real: Attributes
    reconstructed: Attributes


@METRICS.register_module("reconstruction")
class Reconstruction(Metric):
    """Detector accuracy on real clips and on their reconstructions, and PSNR between the two.

    A sample can not be better than what the VAE can show, so these are the upper bounds that
    prompt following is read against. Clips are seen as the samples are: same number of pixels,
    length and frame rate, in their own aspect ratio.
    """

    name = "reconstruction"
    version = 2
    of = "clips"
    unit = "dB"
    better = "higher"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs a manifest with clips of the samples' length, and the VAE."""
        if inputs.manifest is None:
            return "no real clips are known (--manifest was not given)"
        if inputs.vae is None:
            return "no VAE is known (--vae was not given)"
        view = view_of(inputs.samples)
        if choose_clips(inputs.manifest, view, MAX_CLIPS).empty:
            return f"no clip of {inputs.manifest} has {view.num_frames} frames at {view.fps:g} fps"
        return None

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Encode and decode real clips.

        Returns:
            PSNR of each clip; `splits`: train and validation, each with num_clips, psnr (dB: mean,
            min, max, n; over all videos of the split), and, where the truth is known, `real` and
            `reconstructed` (see `judge_samples`); `size`: [T, H, W]; `model`: identity of the VAE;
            `skipped`: parts without input and the reason.
        """
        assert inputs.vae is not None  # missing() was asked first
        assert inputs.manifest is not None
        view = view_of(inputs.samples)
        clips = choose_clips(inputs.manifest, view, MAX_CLIPS)
        truth, reason = self._truth(inputs)
        skipped = {"detector": reason} if reason else {}
        expected = match_truth(clips, truth) if truth is not None else [None] * len(clips)
        if truth is not None and not any(expected):
            skipped["detector"] = "no clip of the manifest overlaps a scene of truth/scenes.csv"
        assert inputs.vae is not None  # missing() was asked first
        vae = load_autoencoder(
            inputs.vae, inputs.device, torch.float32, micro_batch_size=_FRAMES_AT_ONCE
        )
        view = replace(view, num_frames=whole_frames(vae, view.num_frames))
        looks = [
            _look(
                vae,
                read_clip(row, fitted(view, row["aspect_ratio"], vae.patch_size[1:]))[None],
                inputs.device,
                want is not None,
            )
            for row, want in zip(clips.to_dict("records"), expected, strict=True)
        ]
        values = known_values(truth) if truth is not None else {}
        splits: dict[str, Any] = {}
        for split in sorted(set(clips["split"])):
            positions = np.flatnonzero(clips["split"] == split)
            decibels = [looks[k].psnr for k in positions]
            splits[split] = {"num_clips": len(positions), "psnr": _summary(decibels)}
            known = [k for k in positions if expected[k] is not None]
            if known:
                wanted = [want for k in known if (want := expected[k]) is not None]
                real = [looks[k].real for k in known]
                reconstructed = [looks[k].reconstructed for k in known]
                splits[split]["real"] = judge_samples(wanted, real, values)
                splits[split]["reconstructed"] = judge_samples(wanted, reconstructed, values)
        by_id = {name: look.psnr for name, look in zip(clips[ID], looks, strict=True)}
        sources = dict(zip(clips[ID], clips["source"], strict=True))
        return {
            **summarise(by_id, sources),
            "splits": splits,
            "size": [view.num_frames, view.height, view.width],
            "model": vae.identity(),
            "skipped": skipped,
        }

    def _truth(self, inputs: EvaluationInputs) -> tuple[pd.DataFrame | None, str | None]:
        """The truth of the real clips, or the reason why there is none."""
        if inputs.truth is None:
            return None, "no truth is known for real clips (--truth was not given)"
        path = inputs.truth / "scenes.csv"
        if not path.is_file():
            return None, f"{path} does not exist"
        frame = read_table(path)
        lacking = [name for name in (PATH, "start", "end", *ATTRIBUTES) if name not in frame]
        if lacking:
            raise TableError(f"{path}: column {lacking[0]!r} is missing; rule make_demo makes it")
        root = inputs.truth.resolve().parent  # paths are relative to the world's folder
        return frame.assign(**{PATH: [str((root / name).resolve()) for name in frame[PATH]]}), None


def match_truth(clips: pd.DataFrame, truth: pd.DataFrame) -> list[dict[str, str | None] | None]:
    """Find the scene that each clip was cut from, by source file and time span.

    Args:
        clips: `source, start, end` (seconds).
        truth: `path` (absolute), `start, end` and the attributes.

    Returns:
        Per clip the attributes of the scene with the largest overlap; None where no scene covers
        half of the clip.
    """
    scenes = {path: rows.to_dict("records") for path, rows in truth.groupby(PATH)}
    found: list[dict[str, str | None] | None] = []
    for clip in clips.to_dict("records"):
        best, most = None, 0.0
        for scene in scenes.get(str(Path(clip["source"]).resolve()), []):
            overlap = min(clip["end"], scene["end"]) - max(clip["start"], scene["start"])
            if overlap > most:
                best, most = scene, overlap
        covers = best is not None and most >= MIN_OVERLAP * (clip["end"] - clip["start"])
        found.append({n: best[n] or None for n in ATTRIBUTES} if best and covers else None)
    return found


@torch.no_grad()
def _look(vae: Any, pixels: Tensor, device: str, has_truth: bool) -> _Look:
    """Pass [1, 3, T, H, W] in [-1, 1] through the VAE and compare before and after."""
    decoded = vae.decode(vae.encode(pixels.to(device), posterior="mean")).float().cpu()
    real, reconstructed = to_uint8(pixels[0]), to_uint8(decoded[0])
    decibels = float(psnr(torch.from_numpy(real)[None], torch.from_numpy(reconstructed)[None]))
    if not has_truth:
        return _Look(decibels, {}, {})
    return _Look(decibels, detect_attributes(real), detect_attributes(reconstructed))


def _summary(decibels: list[float]) -> dict[str, Any]:
    """Mean, worst and best PSNR over clips; exact copies (infinite) are left out."""
    values = [value for value in decibels if np.isfinite(value)]
    if not values:
        return {"mean": None, "min": None, "max": None, "n": 0}
    return {
        "mean": float(np.mean(values)),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }
