"""What each job asks of a machine: memory, time, threads and GPUs, computed where nobody says.

Every rule belongs to one of two classes: those that never use a GPU, and those that may. A job that
asks for none goes to CPU nodes. None of this decides a result, so none of it is in an identity.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf
from typing import Any

from opensora.config.job_requests import OF_TRAINING, gpus_of, threads_of
from opensora.config.latent_grid import run_grid
from opensora.config.run_sources import captions_of, num_shards_of
from opensora.core.errors import ConfigError
from opensora.dag.cluster.partitions import Limits, partition_limits
from opensora.dag.cluster.runtime import GROWTH as TIMES
from opensora.dag.cluster.runtime import Forecast, Power
from opensora.dag.identity import known_signature
from opensora.dag.memory import (
    JOB_GB,
    PROCESS_GB,
    WORK_GB,
    largest_bucket,
    loaded_gb,
    parameters,
    pixels_gb,
    training_gb,
    weight_files_gb,
)

# a job's memory at its first, second and any further try
GROWTH = (1.0, 1.5, 2.0)
# a table's rows of a shard of some thousand videos, as a rule that reads all shards has them
_SHARD_GB = 0.03
_STEP_MB = 500  # memory is asked for in such steps
_FP32 = 4
_MIXED = "gpu"  # class of jobs that may use a GPU
_UNITS_MB = {"MB": 1, "GB": 1000, "TB": 1_000_000}
_UNITS_MIN = {"min": 1, "h": 60, "d": 1440}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")


@dataclass(frozen=True)
class Rule:
    """What is known of a rule before anything is computed.

    Attributes:
        runtime: minutes, where none can be computed.
        device: "cpu", or "gpu" for rules that may use one.
        grows: whether another try gets more memory. Training does not: each time limit uses a try
            up, and its memory is computed.
    """

    runtime: int
    device: str = "cpu"
    grows: bool = True


RULES = {
    "make_demo": Rule(60),
    "fetch": Rule(1440),
    "ingest_videos": Rule(240),
    "detect_scenes": Rule(240),
    "import_scenes": Rule(60),
    "split_clips": Rule(480),
    "caption_clips": Rule(240, _MIXED),
    "score_clips": Rule(480, _MIXED),
    "score_captions": Rule(240, _MIXED),
    "index_tables": Rule(60),
    "build_manifest": Rule(120),
    "import_manifest": Rule(240),
    "assign_buckets": Rule(120),
    "train_vae": Rule(240, grows=False),
    "train_clip": Rule(240, grows=False),
    "train_text_encoder": Rule(240, grows=False),
    "encode_videos": Rule(480, _MIXED),
    "encode_captions": Rule(480, _MIXED),
    "settle_plan": Rule(60),
    "train": Rule(2880, _MIXED, grows=False),
    "sample": Rule(240, _MIXED),
    "evaluate": Rule(120, _MIXED),
    "report": Rule(60),
}


def check_resources(config: dict[str, Any]) -> None:
    """Refuse amounts that say nothing, and GPUs that nobody would use.

    Raises:
        ConfigError: names the field and what to write.
    """
    given = config["resources"]
    for place, fields in (("", given), *((f"{rule}.", given.get(rule) or {}) for rule in RULES)):
        for name, value in fields.items():
            if value is None:
                continue
            if name in ("mem", "largest_node"):
                _amount(value, _UNITS_MB, f"{place}{name}")
            elif name in ("runtime", "longest_job"):
                _amount(value, _UNITS_MIN, f"{place}{name}")
    for rule, why in _idle_gpus(config):
        fields = given.get(rule) or {}
        if fields.get("gpus") or fields.get("device") == "cuda":
            raise ConfigError(
                f"workflow config: resources.{rule}: a GPU has no effect, because {why}; leave gpus"
                " and device out"
            )
    for rule in RULES:
        fields = given.get(rule) or {}
        if fields.get("gpus") and fields.get("device") == "cpu":
            raise ConfigError(
                f"workflow config: resources.{rule}: gpus {fields['gpus']} has no effect with"
                " device cpu; leave one of them out"
            )


class Requests:
    """What the jobs of a run ask for.

    Args:
        config: of the workflow, checked.
        resolve: path of an MMEngine config as the workflow names it -> its fields.
        partitions: names the file of the cluster's partitions once a run has begun; None without.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        resolve: Callable[[str], Mapping[str, Any]],
        partitions: Callable[[], object] = lambda: None,
    ) -> None:
        self._config = config
        self._resolve = resolve
        self._partitions = partitions
        self._stages = {stage["name"]: stage for stage in config["stages"]}
        self._computed: dict[str, float] = {}
        self._forecast = Forecast(config, resolve=resolve, files_gb=self._encoder)

    def threads(self, rule: str) -> int:
        """CPU threads of each node."""
        return threads_of(self._config, rule)

    def gpus(self, rule: str) -> Callable[[Any], int | None]:
        """GPUs of a job: those of all its nodes; None, which asks for nothing, for none."""
        return known_signature(lambda wildcards: self._gpus_of(rule, wildcards))

    def device(self, rule: str) -> list[str]:
        """The option that says where a network runs; none leaves it to what is there."""
        if self._given(rule, "gpus"):
            return ["--device", "cuda"]
        asked = self._given(rule, "device")
        return [] if asked in (None, "auto") else ["--device", str(asked)]

    def mem_mb(self, rule: str) -> Callable[..., int]:
        """Memory on each node by wildcards and number of the try, MB."""

        def of_job(wildcards: Any, attempt: int) -> int:
            given = self._given(rule, "mem")
            if given:
                first = _amount(given, _UNITS_MB, f"{rule}.mem")
            else:
                first = self._memory(rule, wildcards)
            factor = GROWTH[min(attempt, len(GROWTH)) - 1] if RULES[rule].grows else 1.0
            return _within(first * factor, self._limits(rule, wildcards).mem_mb)

        return known_signature(of_job)

    def runtime(self, rule: str) -> Callable[..., int]:
        """Time limit by wildcards and number of the try, minutes.

        Computed where the run knows what it follows from, else the rule's usual one. What ends at
        its time limit gets more at the next try, but for training, which goes on where it stood.
        """

        def of_job(wildcards: Any, attempt: int = 1) -> int:
            limit = self._limits(rule, wildcards).runtime
            if given := self._given(rule, "runtime"):
                return _within(_amount(given, _UNITS_MIN, f"{rule}.runtime"), limit)
            stage = _stage_of(wildcards) if rule == "train" else ""
            gpus = self._gpus_of(rule, wildcards) or 0
            nodes = self._of(wildcards, "nodes") if stage else 1
            power = Power(threads=self.threads(rule) * nodes, gpus=gpus)
            first = self._forecast.minutes(rule, stage, power) or RULES[rule].runtime
            factor = TIMES[min(attempt, len(TIMES)) - 1] if RULES[rule].grows else 1
            return _within(first * factor, limit)

        return known_signature(of_job)

    def of_stage(self, name: str) -> Callable[[Any], int | str | None]:
        """A resource of training; None, which asks for nothing, where it is not needed.

        On several nodes the job runs in the batch step of the first and starts one launcher a node
        by srun, so that all of the allocation must be its own (`mpi`), with a task for each node.
        Of a GPU job the plugin would make tasks for each GPU of it. SLURM might also deal GPUs out
        unevenly if it knew their sum alone.
        """

        def of_job(wildcards: Any) -> int | str | None:
            nodes, gpus = self._of(wildcards, "nodes"), self._of(wildcards, "gpus")
            if name == "nodes":
                return nodes
            if nodes == 1:
                return None
            found: dict[str, int | str] = {"mpi": "srun", "tasks": nodes}
            if gpus:
                found |= {"tasks_per_gpu": 0, "slurm_extra": f"--gpus-per-node={gpus}"}
            return found.get(name)

        return of_job

    def _given(self, rule: str, name: str) -> Any:
        return (self._config["resources"].get(rule) or {}).get(name)

    def _of(self, wildcards: Any, name: str) -> int:
        return int(self._stages[_stage_of(wildcards)][name])

    def _gpus_of(self, rule: str, wildcards: Any) -> int | None:
        stage = _stage_of(wildcards) if rule in OF_TRAINING else ""
        return gpus_of(self._config, rule, stage) or None

    def _limits(self, rule: str, wildcards: Any) -> Limits:
        given = self._config["resources"]
        node, job = given["largest_node"], given["longest_job"]
        found = Limits(
            _amount(node, _UNITS_MB, "largest_node") if node else inf,
            _amount(job, _UNITS_MIN, "longest_job") if job else inf,
        )
        path = self._partitions()
        if not path:
            return found
        gpu = self._gpus_of(rule, wildcards) is not None
        return found.within(partition_limits(str(path), gpu=gpu))

    def _memory(self, rule: str, wildcards: Any) -> float:
        """What a rule takes at its first try, MB; computed once a rule, or a stage of it."""
        stage = _stage_of(wildcards) if rule == "train" else ""
        key = f"{rule} {stage}"
        if key not in self._computed:
            gigabytes = self._train_gb(stage) if stage else self._gb(rule)
            self._computed[key] = ceil(gigabytes * 1000 / _STEP_MB) * _STEP_MB
        return self._computed[key]

    def _gb(self, rule: str) -> float:
        """Memory of all rules but train, GB."""
        basis = JOB_GB + PROCESS_GB + WORK_GB
        workers = (self.threads(rule) - 1) * WORK_GB / 2
        own: dict[str, Callable[[], float]] = {
            "caption_clips": lambda: loaded_gb(self._captioner, "fp32"),
            "score_clips": lambda: loaded_gb(self._scorers, "fp32"),
            "score_captions": lambda: loaded_gb(self._encoder("clip"), "fp32"),
            "encode_videos": self._encode_videos_gb,
            "encode_captions": lambda: loaded_gb(
                self._encoder("text_encoder"), self._config["encode"]["dtype"]
            ),
            "sample": self._sample_gb,
            "evaluate": self._evaluate_gb,
        }
        if rule in ("build_manifest", "import_manifest", "assign_buckets", "report"):
            return basis + num_shards_of(self._config) * _SHARD_GB
        if rule in ("train_vae", "train_clip", "train_text_encoder"):
            return basis + 4.0
        return basis + (own[rule]() if rule in own else workers)

    def _train_gb(self, name: str) -> float:
        stage = self._stages[name]
        online = 0.0
        if stage["online"]:
            dtype = self._config["encode"]["dtype"]
            online = sum(loaded_gb(self._encoder(kind), dtype) for kind in ("vae", "text_encoder"))
        return training_gb(
            self._resolve(stage["config"]),
            ranks=stage["gpus"] or stage["processes"],
            on_gpu=stage["gpus"] > 0,
            vae_stride=run_grid(self._config, self._resolve).stride,
            online=online,
        )

    def _encode_videos_gb(self) -> float:
        stages = [stage for stage in self._config["stages"] if not stage["online"]]
        clips = [largest_bucket(self._resolve(stage["config"]))[0] for stage in stages]
        on_cpu = not self._given("encode_videos", "gpus")
        encoders = loaded_gb(self._encoder("vae"), "fp32") + self._pictures_gb()
        return encoders + pixels_gb(max(clips), through_vae=on_cpu)

    def _pictures_gb(self) -> float:
        """What embeds given frames; nothing where nothing does."""
        name = (self._config.get("encode") or {}).get("image_encoder")
        return loaded_gb(weight_files_gb(name, "image_encoder"), "fp32") if name else 0.0

    def _evaluate_gb(self) -> float:
        """Encoders, and the model whose loss on held-out clips is measured."""
        weights = self._model_gb(self._resolve(self._config["sample"]["config"]))
        return self._encoder("clip") + self._encoder("vae") + weights

    def _model_gb(self, fields: Mapping[str, Any]) -> float:
        """Weights of the model that samples."""
        model = fields.get("model") or self._resolve(self._config["stages"][-1]["config"])["model"]
        return loaded_gb(parameters(model) * _FP32 / 1e9, "fp32")

    def _sample_gb(self) -> float:
        fields = self._resolve(self._config["sample"]["config"])
        weights = self._model_gb(fields)
        encoders = sum(loaded_gb(self._encoder(kind), "fp32") for kind in ("vae", "text_encoder"))
        pixels = largest_bucket(fields)[1]
        on_cpu = not self._given("sample", "gpus")
        encoders += self._pictures_gb()
        return weights + encoders + pixels_gb(pixels, through_vae=on_cpu)

    def _encoder(self, name: str) -> float:
        """Files of an encoder, GB; one that the run trains is small."""
        return weight_files_gb(self._config["models"][name]["from_pretrained"], name)

    @cached_property
    def _captioner(self) -> float:
        names = {
            captions["model"]
            for captions in captions_of(self._config)
            if captions["captioner"] == "transformers"
        }
        return max((weight_files_gb(name, "captioner") for name in names), default=0.0)

    @cached_property
    def _scorers(self) -> float:
        """Weights among the options of scorers, GB."""
        given = self._config["scorer_options"].values()
        return sum(weight_files_gb(name, "clip") for options in given for name in options.values())


def _stage_of(wildcards: Any) -> str:
    """The stage of a job of training, which may be one of its milestones: `stage1@100`."""
    return str(wildcards.stage).partition("@")[0]


def _idle_gpus(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Rules that would not use a GPU with these settings, and why."""
    found = []
    captioners = [captions["captioner"] for captions in captions_of(config)]
    if captioners and "transformers" not in captioners:
        found.append(("caption_clips", f"captioner {captioners[0]} has no model"))
    if not config["scorer_options"]:
        found.append(("score_clips", "no scorer in scorer_options computes with a network"))
    return found


def _amount(text: Any, units: Mapping[str, int], place: str) -> float:
    """A number with its unit, as 16GB or 4 h, in the smallest one.

    Raises:
        ConfigError: anything else.
    """
    match = _AMOUNT.fullmatch(str(text).strip())
    if match is None or match[2] not in units or not float(match[1]):
        example = {"MB": "16GB", "min": "4h"}[next(iter(units))]
        raise ConfigError(
            f"workflow config: resources.{place}: {text!r}; expected a number and one of"
            f" {', '.join(units)}, as {example}"
        )
    return float(match[1]) * units[match[2]]


def _within(value: float, limit: float) -> int:
    return int(min(value, limit))
