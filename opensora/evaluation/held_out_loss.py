"""The training loss of the weights that made the samples, on clips that no step trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from opensora.acceleration.precision import autocast, effective_dtype
from opensora.buckets.bucket import Bucket
from opensora.config.registry import METRICS, MODELS, build_module
from opensora.core.errors import OpenSoraError
from opensora.datasets.stored import LatentDataset
from opensora.evaluation.metric import EvaluationInputs, Metric
from opensora.evaluation.statistics import summarise
from opensora.models.open.band_scheduler import scheduler_of
from opensora.models.open.bands import Band, noise_band
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.plans.compile import BatchPlan
from opensora.sampling.checkpoint import TrainedModel, find_trained_model
from opensora.sampling.checks import check_complete
from opensora.tables.columns import ID
from opensora.tables.manifest import read_manifest
from opensora.training.step import on_device
from opensora.training.watched.held_out import losses_by_band, stored_batches
from opensora.training.watched.losses import BANDS, band_name

MAX_CLIPS = 128  # of a bucket


@METRICS.register_module("held_out_loss")
class HeldOutLoss(Metric):
    """Mean loss of each held-out clip over four noise bands, at the noise that training watches.

    Training's own curve is that of the weights that are trained; here they are those that sample,
    the averaged ones. Losses of another scheduler or other latents do not compare.
    """

    name = "held_out_loss"
    version = 1
    of = "clips"
    unit = "loss"
    better = "lower"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs weights with their training config, and stored clips that are held out."""
        if inputs.checkpoint is None:
            return "no weights are known (--ckpt-path was not given)"
        if inputs.held_out is None:
            return "no plan of held-out clips is known (--held-out was not given)"
        if not len(BatchPlan(inputs.held_out)):
            return f"{inputs.held_out} holds no clip (validation_fraction gives them)"
        training = _trained(inputs).training
        if not training:
            return f"no training config lies beside {inputs.checkpoint}"
        if not training.get("dataset", {}).get("latents"):
            return "these weights were trained from videos, which encodes no held-out clips"
        if not _batches(inputs, training)[1]:
            return f"the stores hold none of the clips of {inputs.held_out}"
        return None

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Measure every clip once in each noise band.

        Returns:
            The mean loss of each clip; `by_band` and `by_bucket`: the same summary without
            samples; `scheduler` and `model`, the hash of the weights; `missing_clips`: how many
            of the plan are not in the stores.
        """
        source = _trained(inputs)
        dataset, batches, absent = _batches(inputs, source.training)
        device = torch.device(inputs.device)
        model = build_module(source.model, MODELS)
        check_complete(source.path, load_checkpoint(model, source.path))
        model.to(device).eval()
        scheduler = scheduler_of(model, source.training["scheduler"])
        losses: dict[str, list[float]] = {}
        buckets: dict[str, str] = {}
        with torch.no_grad(), autocast(_dtype(source.training, device), device):
            for bucket, ids in _limited(batches):
                latents, conditions = on_device(dataset.read_clips(0, bucket, ids), device)
                bands = losses_by_band(model, scheduler, latents, conditions, ids)
                rows = torch.stack([values.float().cpu() for _, values in bands], dim=1)  # [B, 4]
                for name, row in zip(ids, rows.tolist(), strict=True):
                    losses[name], buckets[name] = row, str(bucket)
        return {
            **_summaries(losses, buckets, _sources(inputs, losses), noise_band(model)),
            "scheduler": source.training["scheduler"],
            "model": {"weights": source.sha256()},
            "missing_clips": absent,
        }


def _trained(inputs: EvaluationInputs) -> TrainedModel:
    return find_trained_model({"from_pretrained": str(inputs.checkpoint)}, alone=True)


def _batches(
    inputs: EvaluationInputs, training: Mapping[str, Any]
) -> tuple[LatentDataset, list[tuple[Bucket, list[str]]], int]:
    assert inputs.held_out is not None  # missing() was asked first
    paths = {name: training["dataset"][name] for name in ("latents", "embeddings")}
    # its plan is whole in the stores; of the held-out clips some may be absent
    dataset = LatentDataset(**paths, plan=training["dataset"]["plan"], seed=0)
    return dataset, *stored_batches(BatchPlan(inputs.held_out), dataset)


def _limited(batches: list[tuple[Bucket, list[str]]]) -> list[tuple[Bucket, list[str]]]:
    """The first batches of each bucket, up to MAX_CLIPS clips and one at least."""
    seen: Counter[str] = Counter()
    found = []
    for bucket, ids in batches:
        if seen[str(bucket)] < MAX_CLIPS:
            found.append((bucket, ids[: MAX_CLIPS - seen[str(bucket)]]))
        seen[str(bucket)] += len(ids)
    return found


def _dtype(training: Mapping[str, Any], device: torch.device) -> torch.dtype:
    """That of training; fp32 where this device has no quick one."""
    try:
        return effective_dtype(str(training.get("dtype", "bf16")), device)
    except OpenSoraError:
        return torch.float32


def _sources(inputs: EvaluationInputs, losses: Mapping[str, Any]) -> dict[str, str]:
    """The source video of each clip, by the manifest; without one a clip stands for itself."""
    known: dict[str, str] = {}
    if inputs.manifest is not None:
        table: pd.DataFrame = read_manifest(inputs.manifest, columns=("source",))
        known = dict(zip(table[ID], table["source"], strict=True))
    return {key: known.get(key, key) for key in losses}


def _summaries(
    losses: Mapping[str, list[float]],
    buckets: Mapping[str, str],
    sources: Mapping[str, str],
    noise: Band | None,
) -> dict[str, Any]:
    def of(values: dict[str, float]) -> dict[str, Any]:
        found = summarise(values, sources)
        del found["samples"]
        return found

    means = {key: sum(row) / len(row) for key, row in losses.items()}
    return {
        **summarise(means, sources),
        "by_band": {
            band_name(band, noise): of({key: row[band] for key, row in losses.items()})
            for band in range(BANDS)
        },
        "by_bucket": {
            bucket: of({key: mean for key, mean in means.items() if buckets[key] == bucket})
            for bucket in sorted(set(buckets.values()))
        },
    }
