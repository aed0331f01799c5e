"""The encoders that a run trains itself, and what the gate found on the latents."""

from __future__ import annotations

from typing import Any

import pandas as pd

from opensora.report import sections
from opensora.report.collect import RunFolder, StageFolder
from opensora.report.facts import latent_rows, latent_warnings, psnr_facts
from opensora.report.media import Media

_NAMES = {"vae": "VAE", "clip": "CLIP", "text_encoder": "Text encoder"}
_NOT_CURVES = {"step", "epoch", "seconds", "loss_ema", "bucket", "tokens", "samples"}


def encoders(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """Data of the section; None where the run uses ready-made encoders and has no latents yet."""
    models = [
        {
            "name": _NAMES[name],
            "learned_from": sections.trained_on_words(run.trained_on[name]),
            "curves": curves,
        }
        for name, metrics in run.models.items()
        if (curves := _curves(metrics))
    ]
    gates = [_gate(stage, media) for stage in run.stages if stage.doctor]
    facts, sizes = psnr_facts(run.psnr) if run.psnr else ([], [])
    if not (models or gates or facts):
        return None
    return {"models": models, "gates": gates, "psnr": facts, "sizes": sizes}


def _curves(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Every number that the training logged, the loss first."""
    if "step" not in metrics:
        return []
    curves = []
    for name in sorted(metrics.select_dtypes("number"), key=lambda name: name != "loss"):
        known = metrics[metrics[name].notna()]
        if name not in _NOT_CURVES and len(known) > 1:
            curves.append({"name": str(name), "x": known["step"], "y": known[name]})
    return curves


def _gate(stage: StageFolder, media: Media) -> dict[str, Any]:
    """What the gate says of the latents of a stage, with a picture of each bucket."""
    pictures: dict[str, dict[str, str]] = {}
    for report in stage.doctor.values():
        for bucket, facts in report.get("buckets", {}).items():
            if bucket not in pictures and facts.get("montage"):
                file = stage.latents_dir / facts["montage"]
                address, absent = media.take(file, stage.places)
                pictures[bucket] = {"bucket": bucket, "picture": address, "absent": absent}
    return {
        "stage": stage.name,
        "rows": latent_rows(stage.doctor),
        "warnings": latent_warnings(stage.doctor),
        "pictures": [pictures[bucket] for bucket in sorted(pictures)],
    }
