"""How long a job may take, from what is known of a run when the job is about to start.

First the bytes of the videos are known, then the clips of each bucket. The figures below are rather
slow ones of old machines, and what they give is taken several times: a time limit that is too long
costs a place in the queue, one that is too short costs the job.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from opensora.config.latent_grid import run_grid
from opensora.config.open_folder import read_patch
from opensora.config.run_sources import captions_of, num_shards_of
from opensora.core.errors import OpenSoraError
from opensora.dag.listing import largest_shard
from opensora.dag.memory import HUB_GB, largest_bucket, parameters
from opensora.tables.prompts import is_prompt_table, read_prompt_table

MARGIN = 3.0  # how many times the estimate is asked for
START_MIN = 20  # Snakemake, imports, weights that are read
LEAST_MIN, STEP_MIN = 60, 10  # the shortest time limit, and its steps
GROWTH = (1, 2, 4)  # of a time limit at the first, second and any further try
# footage of few bytes takes as long to decode: 2 Mbit/s
_BYTES_A_S = 250_000
# CPU seconds for a second of footage at 1080p, one thread; measured at 640x360 to 1280x720
# (docs/benchmarks.md: 0.002, 0.03, 0.3, 0.03) and taken four to thirty times
_CPU_S = {
    "ingest_videos": 0.05,
    "detect_scenes": 0.3,
    "split_clips": 2.0,
    "caption_clips": 0.05,
    "score_clips": 1.0,
}
# a caption of eight seconds of footage by a network of some billion weights, on a GPU and a CPU
_CAPTIONED_S = {True: 5.0 / 8, False: 200.0 / 8}
# operations a second: of a GPU in bf16, of one in fp32, of a CPU thread in fp32
_GPU_BF16, _GPU_FP32, _THREAD = 5e13, 1e13, 2e10
# operations of Stable Diffusion's VAE for a pixel on either way, its weights; of CLIP for an image
_VAE_FLOPS, _VAE_WEIGHTS, _CLIP_FLOPS = 5e6, 8.4e7, 2e11
_SMALL = 5e6  # weights of an encoder that the run trains itself
_CLIP_IMAGES = 8  # of a clip or sample
_PASSES = 8.0  # of two operations a weight and token: forward, backward, recomputed
_ATTENTION = 1.5  # attention beside the weights
_UNEVEN = 2.0  # the largest shard beside the mean one
_ROW_S = 0.002  # of a table of clips
_TOKENS = 200  # of a caption


@dataclass(frozen=True)
class Power:
    """What a job computes with.

    Attributes:
        threads: CPU threads.
        gpus: of all its nodes.
    """

    threads: int
    gpus: int

    def seconds(self, flops: float, *, gpu_speed: float = _GPU_BF16) -> float:
        """Time for so many operations."""
        return flops / (self.gpus * gpu_speed if self.gpus else self.threads * _THREAD)


class Forecast:
    """Times of the jobs of a run, where they can be told.

    Args:
        config: of the workflow, checked.
        resolve: path of an MMEngine config -> its fields.
        files_gb: name of an encoder -> size of its weight files, GB.
    """

    def __init__(self, config: Mapping[str, Any], *, resolve: Any, files_gb: Any) -> None:
        self._config = config
        self._resolve = resolve
        self._files_gb = files_gb
        self._run = Path(f"results/{config['run']}")
        self._read: dict[Path, tuple[float, dict[str, Any]]] = {}

    def minutes(self, rule: str, stage: str, power: Power) -> int | None:
        """Time limit of the first try; None where nothing is known that it follows from.

        Args:
            rule: of the job.
            stage: of training and sampling.
            power: what the job has.
        """
        seconds = self._seconds(rule, stage, power)
        if seconds is None:
            return None
        asked = START_MIN + MARGIN * seconds / 60
        return max(LEAST_MIN, ceil(asked / STEP_MIN) * STEP_MIN)

    def _seconds(self, rule: str, stage: str, power: Power) -> float | None:
        if rule in _CPU_S:
            return self._of_footage(rule, power)
        if rule in ("sample", "evaluate"):
            return self._of_samples(rule, power)
        if rule in ("build_manifest", "assign_buckets", "settle_plan", "report"):
            clips = self._clips()
            return None if clips is None else clips * _ROW_S
        if rule == "train":
            return self._of_training(stage, power)
        if rule in ("encode_videos", "encode_captions", "score_captions"):
            return self._of_shard(rule, power)
        return None

    def _of_footage(self, rule: str, power: Power) -> float | None:
        sizes = [largest_shard(path) for path in sorted(self._run.glob("listing/files*.json"))]
        known = [size for size in sizes if size is not None]
        if not known:
            return None
        footage = max(known) / _BYTES_A_S
        if rule == "caption_clips":
            return max(
                footage * self._captioned_s(captions, power)
                for captions in captions_of(self._config)
            )
        return footage * _CPU_S[rule] / power.threads

    @staticmethod
    def _captioned_s(captions: dict[str, Any], power: Power) -> float:
        """A second of footage, by what a source's captions come from."""
        if captions["captioner"] == "transformers":
            return _CAPTIONED_S[power.gpus > 0] / (1 if power.gpus else power.threads)
        if captions["captioner"] == "openai":
            seconds: float = _CAPTIONED_S[True] / captions["endpoint"]["concurrency"]
            return seconds
        return _CPU_S["caption_clips"] / power.threads

    def _of_shard(self, rule: str, power: Power) -> float | None:
        """Work on the clips of one shard."""
        share = _UNEVEN / num_shards_of(self._config)
        if rule == "encode_videos":
            pixels = self._pixels()
            if pixels is None:
                return None
            return power.seconds(pixels * share * self._vae_flops(), gpu_speed=_GPU_FP32)
        clips = self._clips()
        if clips is None:
            return None
        if rule == "score_captions":
            return power.seconds(clips * share * _CLIP_IMAGES * _CLIP_FLOPS, gpu_speed=_GPU_FP32)
        weights = self._weights("text_encoder")
        tokens = self._config["encode"]["max_length"] or _TOKENS
        return power.seconds(clips * share * 2 * weights * tokens, gpu_speed=_GPU_FP32)

    def _of_training(self, name: str, power: Power) -> float | None:
        totals = self._summary(name).get("totals")
        stage = next(one for one in self._config["stages"] if one["name"] == name)
        if totals is None:
            return None
        weights = parameters(self._resolve(stage["config"]).get("model") or {})
        flops = totals["tokens"] * weights * _PASSES * _ATTENTION
        seconds = power.seconds(flops)
        if stage["online"]:
            pixels = totals["tokens"] * self._pixels_a_token(name)
            seconds += power.seconds(pixels * self._vae_flops(), gpu_speed=_GPU_FP32)
            texts = totals["samples"] * _TOKENS * 2 * self._weights("text_encoder")
            seconds += power.seconds(texts, gpu_speed=_GPU_FP32)
        return seconds

    def _of_samples(self, rule: str, power: Power) -> float | None:
        prompts = Path(self._config["sample"]["prompts"] or self._run / "raw/prompts.txt")
        try:
            count = _number_of(prompts)
        except (OSError, OpenSoraError):
            return None
        count *= self._config["sample"]["num_samples"]
        if rule == "evaluate":
            return power.seconds(count * _CLIP_IMAGES * _CLIP_FLOPS, gpu_speed=_GPU_FP32)
        count = -(-count // self._config["sample"]["num_jobs"])
        fields = self._resolve(self._config["sample"]["config"])
        last = self._config["stages"][-1]["config"]
        model = fields.get("model") or self._resolve(last)["model"]
        steps = (fields.get("scheduler") or {}).get("num_sampling_steps") or 100
        pixels = largest_bucket(fields)[0] * (fields.get("loop") or 1)
        tokens = pixels / self._pixels_of(model)
        # each step twice, with and without the text
        flops = 2 * steps * 2 * parameters(model) * tokens * _ATTENTION
        each = power.seconds(flops) + power.seconds(pixels * self._vae_flops(), gpu_speed=_GPU_FP32)
        return count * each

    def _clips(self) -> int | None:
        """Clips of the manifest, which every stage's plan counts."""
        for stage in self._config["stages"]:
            if totals := self._summary(stage["name"]).get("totals"):
                return int(totals["clips"])
        return None

    def _pixels(self) -> float | None:
        """Pixels of all clips of stages that are encoded ahead, once a stage."""
        total, known = 0.0, False
        for stage in self._config["stages"]:
            buckets = {} if stage["online"] else self._summary(stage["name"]).get("buckets")
            known = known or bool(buckets)
            for row in (buckets or {}).values():
                total += row["samples"] * row["num_frames"] * row["height"] * row["width"]
        return total if known else None

    def _pixels_a_token(self, name: str) -> float:
        size = self._summary(name).get("token_size") or [1, 16, 16]
        return float(size[0] * size[1] * size[2])

    def _pixels_of(self, model: Mapping[str, Any]) -> float:
        """Pixels of a token of a model."""
        patch = model.get("patch_size") or read_patch(model) or (1, 2, 2)
        stride = run_grid(self._config, self._resolve).stride
        return float(patch[0] * patch[1] * patch[2] * stride[0] * stride[1] * stride[2])

    def _vae_flops(self) -> float:
        """Operations for a pixel, on either way."""
        return _VAE_FLOPS * self._weights("vae") / _VAE_WEIGHTS

    def _weights(self, kind: str) -> float:
        """Weights of an encoder whose files hold them in fp32; one that is not there is usual."""
        if not self._config["models"][kind]["from_pretrained"]:
            return _SMALL
        return (self._files_gb(kind) or HUB_GB[kind]) * 1e9 / 4

    def _summary(self, stage: str) -> dict[str, Any]:
        """What assign_buckets wrote of a stage; empty before."""
        path = self._run / "buckets" / stage / "summary.json"
        try:
            time = path.stat().st_mtime
            if path not in self._read or self._read[path][0] != time:
                self._read[path] = (time, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}
        return self._read[path][1]


def _number_of(prompts: Path) -> int:
    """Prompts of a table or a text file."""
    if is_prompt_table(prompts):
        return len(read_prompt_table(prompts))
    with prompts.open("rb") as file:
        return sum(1 for line in file if line.strip())
