"""What the jobs of a run would ask of a cluster, by its config and profile, without any job."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from opensora.config.run_sources import fetched_sources, sources_of
from opensora.core.errors import ConfigError
from opensora.dag.cluster.fit import Asked
from opensora.dag.configs import resolved
from opensora.dag.resources import Requests
from opensora.dag.settings import check_workflow_config

_SCHEMA = Path("workflow/schemas/config.schema.yaml")
_PROFILES = ("config.v9+.yaml", "config.yaml")


@dataclass(frozen=True)
class Profile:
    """What a profile tells the SLURM plugin.

    Attributes:
        path: of its file.
        settings: options of snakemake, as they stand there.
        defaults: its default-resources.
    """

    path: Path
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any]

    @property
    def partitions(self) -> str | None:
        """The file of partitions."""
        return self.settings.get("slurm-partition-config")

    @property
    def first_check(self) -> int:
        """Seconds until the first status check."""
        return int(self.settings.get("slurm-init-seconds-before-status-checks", 40))


def read_profile(folder: str | Path) -> Profile:
    """Read a profile.

    Raises:
        ConfigError: there is none, or it is not one for SLURM.
    """
    path = next(
        (Path(folder) / name for name in _PROFILES if (Path(folder) / name).is_file()), None
    )
    if path is None:
        raise ConfigError(f"{folder}: no profile there; give a folder with {_PROFILES[0]}")
    settings = _yaml(path)
    if settings.get("executor") != "slurm":
        raise ConfigError(f"{path}: executor is {settings.get('executor')!r}; expected slurm")
    given = settings.get("default-resources") or {}
    if isinstance(given, list):  # as on the command line: name=value
        given = dict(str(word).split("=", 1) for word in given)
    return Profile(path, settings, given)


def read_run(path: str | Path) -> dict[str, Any]:
    """Read and check a workflow config, in the folder of the workflow.

    Raises:
        ConfigError: a file is missing or the config is wrong.
    """
    for file in (Path(path), _SCHEMA):
        if not file.is_file():
            raise ConfigError(f"{file}: no such file; run this in the folder of the workflow")
    config = _yaml(Path(path))
    check_workflow_config(config, _SCHEMA)
    return config


def asked_by_run(config: Mapping[str, Any], profile: Profile) -> list[Asked]:
    """What one job of each rule asks for, of training of each stage.

    Raises:
        ConfigError: a training config or the file of partitions can not be read.
    """
    asks = Requests(config, resolve=resolved, partitions=lambda: profile.partitions)
    found = []
    for rule in rules_of(config):
        for stage in config["stages"] if rule == "train" else config["stages"][-1:]:
            job = SimpleNamespace(stage=stage["name"], shard="0000")
            of_stage = stage if rule == "train" else {}
            nodes = int(of_stage.get("nodes", 1))
            found.append(
                Asked(
                    rule,
                    stage["name"] if rule == "train" else "",
                    mem_mb=asks.mem_mb(rule)(job, attempt=1),
                    runtime=asks.runtime(rule)(job),
                    threads=asks.threads(rule),
                    nodes=nodes,
                    gpus=(asks.gpus(rule)(job) or 0) // nodes,
                    mpi="srun" if nodes > 1 else None,
                    partition=str(profile.defaults.get("slurm_partition") or ""),
                    account=str(profile.defaults.get("slurm_account") or ""),
                )
            )
    return found


def rules_of(config: Mapping[str, Any]) -> list[str]:
    """The rules that make everything of a run, in the order of the pipeline."""
    models = config["models"]
    trained = [
        name for name in models if models[name]["config"] and not models[name]["from_pretrained"]
    ]
    if models["text_encoder"]["type"] != "t5":  # classes need none, clip is read by models.clip
        trained = [name for name in trained if name != "text_encoder"]
    if config["manifest"]:
        curation = ["import_manifest"]
    else:
        curation = [
            *(["make_demo"] if config["demo"] else []),
            *_of_sources(config),
            "build_manifest",
        ]
    stored = not all(stage["online"] for stage in config["stages"])
    encode = ["encode_videos", "encode_captions"] if stored else []
    return [
        *curation,
        *(f"train_{name}" for name in trained),
        *("assign_buckets", *encode, "settle_plan", "train", "sample", "evaluate", "report"),
    ]


def _of_sources(config: Mapping[str, Any]) -> list[str]:
    """The rules before build_manifest, in a run that does not begin with ready clips alone."""
    sources = sources_of(config)
    scenes = [source["scenes"] for source in sources if not source.get("manifest")]
    ready = ["import_manifest"] if len(scenes) < len(sources) else []
    if not scenes:
        return ready
    return [
        *(["fetch"] if fetched_sources(config) else []),
        "ingest_videos",
        *(["import_scenes"] if any(given["table"] for given in scenes) else []),
        *(["detect_scenes"] if not all(given["table"] for given in scenes) else []),
        *("split_clips", "caption_clips", "score_clips"),
        *(["score_captions"] if "match" in config["scorers"] else []),
        "index_tables",
        *ready,
    ]


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: can not be read ({reason}); expected YAML") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected names and values, as {path.name}: ...")
    return found
