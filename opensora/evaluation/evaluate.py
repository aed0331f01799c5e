"""Run every registered metric on the samples of one stage and write one JSON file."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opensora.config.latent_grid import read_grid
from opensora.config.registry import METRICS, build_module, registered_names
from opensora.core.errors import TableError, VideoError
from opensora.core.guard import Guard
from opensora.core.io import write_json
from opensora.core.process import threads_in_use
from opensora.core.seal import sealed
from opensora.core.text import counted
from opensora.evaluation.metric import EvaluationInputs
from opensora.evaluation.vbench import read_results
from opensora.media.decode import read_frames
from opensora.models.efficientnet_lite import EfficientNetLite0
from opensora.models.i3d import holds_i3d, read_i3d
from opensora.sampling.finished import check_sample
from opensora.tables.columns import ID, PATH

log = logging.getLogger(__name__)

LAYOUT = 2  # of the JSON file; docs/evaluation.md describes it


def evaluate(
    inputs: EvaluationInputs, output: str | Path, vbench: Sequence[Path] = ()
) -> dict[str, Any]:
    """Measure and write `output`.

    Args:
        inputs: samples and whatever else is known about them.
        output: JSON file; its stem is the name of the stage.
        vbench: result files of VBench on these samples.

    Returns:
        What was written: `version` of this layout, `stage`, `num_samples`, `num_prompts`,
        `samples` (id -> prompt, seed), `metrics` (name -> its version, of, unit, better and what
        it found), `skipped` (metric or part of one -> the reason why it did not run), and
        `unreadable` (id of a sample -> the reason why it is not measured) if there are any.

    Raises:
        TableError: no sample can be read.
        ConfigError: a result file of VBench is none of these samples.
    """
    # first: it refuses at once, and VBench numbers the samples that can not be read, too
    of_vbench = read_results(vbench, inputs.samples)
    metrics: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    _check_networks(inputs)
    inputs, unreadable = _readable(inputs)
    for name in registered_names(METRICS):
        metric = build_module({"type": name}, METRICS)
        reason = metric.missing(inputs)
        if reason is not None:
            skipped[name] = reason
            log.info('evaluate metric=%s skipped="%s"', name, reason)
            continue
        started = time.monotonic()
        metrics[name] = {
            **{"version": metric.version, "of": metric.of},
            **{"unit": metric.unit, "better": metric.better},
            **metric.compute(inputs),
        }
        for part, why in metrics[name].pop("skipped", {}).items():
            skipped[f"{name} {part}"] = why
        log.info("evaluate metric=%s seconds=%.1f", name, time.monotonic() - started)
    metrics |= of_vbench
    result = {
        "version": LAYOUT,
        "stage": Path(output).stem,
        "num_samples": len(inputs.samples),
        "num_prompts": int(inputs.samples["prompt"].nunique()),
        "samples": {
            row[ID]: {"prompt": row["prompt"], "seed": int(row["seed"])}
            for row in inputs.samples.to_dict("records")
        },
        "threads": threads_in_use(),
        "metrics": metrics,
        "skipped": skipped,
    }
    if unreadable:
        result["unreadable"] = unreadable
    write_json(output, sealed(result))
    return result


def _check_networks(inputs: EvaluationInputs) -> None:
    """Refuse at once what would be refused after minutes of other metrics, or never be looked at.

    Raises:
        CheckpointError: a folder is no autoencoder, or a file holds no network for features.
    """
    if inputs.vae is not None:
        read_grid(inputs.vae)
    if inputs.features is not None:
        load = read_i3d if holds_i3d(inputs.features) else EfficientNetLite0
        load(inputs.features)


def _readable(inputs: EvaluationInputs) -> tuple[EvaluationInputs, dict[str, str]]:
    """The inputs with the samples that can be decoded and are what was sampled; else the reasons.

    Those are of the other samples, by id.
    """
    faults: dict[str, str] = {}
    with Guard("evaluate") as guard:
        for row in inputs.samples.to_dict("records"):
            named = {str(name): value for name, value in row.items()}
            found: object = guard.call(check_sample, named, Path(row[PATH]))
            if not isinstance(found, VideoError):
                found = guard.call(read_frames, row[PATH], [int(row["num_frames"]) - 1])
            if isinstance(found, VideoError):
                faults[row[ID]] = str(found)
                log.warning("evaluate sample left out id=%s %s", row[ID], found)
    if not faults:
        return inputs, faults
    good = inputs.samples[~inputs.samples[ID].isin(faults)].reset_index(drop=True)
    if good.empty:
        first, reason = next(iter(faults.items()))
        raise TableError(f"none of {len(faults)} samples can be read; the first, {first}: {reason}")
    return replace(inputs, samples=good), faults


def summarise(result: dict[str, Any]) -> str:
    """Put the result into one line for the terminal."""
    parts = [
        f"{counted(result['num_samples'], 'sample')} of {counted(result['num_prompts'], 'prompt')}"
    ]
    following = result["metrics"].get("prompt_following")
    if following:
        for split, scores in following["splits"].items():
            rates = ", ".join(
                f"{name} {scores[name]['accuracy']:.0%}"
                for name in ("colour", "shape", "direction", "all")
                if scores[name]["accuracy"] is not None
            )
            parts.append(f"{split}: {rates}")
    clipsim = result["metrics"].get("clipsim")
    if clipsim:
        shuffled = clipsim["shuffled"]
        other = "" if shuffled is None else f" (other prompts {shuffled:.3f})"
        parts.append(f"clipsim {clipsim['mean']:.3f}{other}")
    if result.get("unreadable"):
        parts.append(f"{counted(len(result['unreadable']), 'sample')} could not be read")
    if result["skipped"]:
        parts.append(f"skipped {', '.join(sorted(result['skipped']))}")
    return "; ".join(parts)
