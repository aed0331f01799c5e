"""What the page samples with: the config, the checkpoints and the encoders of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from opensora.config.load import load_config
from opensora.core.errors import ConfigError
from opensora.models.weights.folders import resolve_folder
from opensora.sampling.checkpoint import find_trained_model
from opensora.sampling.settings import FIELDS, SamplingSettings

WEIGHTS = "ema.safetensors"
# parts that stand in folders of their own
_FOLDERS = ("vae", "text_encoder")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a run offers to sample with.

    Attributes:
        config: its sampling config, None where nothing names one.
        checkpoints: name that people read -> file of weights, in the order of training.
        options: overrides of the config that name the run's encoders and seed.
    """

    config: Path | None = None
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    options: Sequence[str] = ()


def parts_of_run(run: Path) -> Parts:
    """Find what a run trained: every stage and milestone with weights, and its encoders.

    Args:
        run: `results/{run}`.

    Raises:
        ConfigError: no such run, or none of its stages has ended.
    """
    try:
        settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        models, sample = settings["models"], settings["sample"]
        options = ["--seed", str(int(settings["seed"]))]
        for name in _FOLDERS:
            if folder := _folder(run, name, models):
                options += [f"--{name}", folder]
        if pictures := (settings.get("encode") or {}).get("image_encoder"):
            options += ["--image_encoder", pictures]
        config = Path(sample["config"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{run}: is no folder of a run, whose config.yaml names models and sample; give"
            " results/NAME of a run, or --config, --ckpt-path, --vae and --text-encoder"
        ) from error
    files = sorted((run / "train").glob(f"*/{WEIGHTS}"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise ConfigError(
            f"{run}: has no weights yet (train/*/{WEIGHTS}); wait until a stage has ended, or give"
            " --ckpt-path"
        )
    return Parts(
        config=config, checkpoints={path.parent.name: path for path in files}, options=options
    )


def _folder(run: Path, name: str, models: Mapping[str, Any]) -> str | None:
    """The folder of an encoder, as the workflow chooses it; None of one that has no weights."""
    given = models[name]["from_pretrained"]
    kind = models[name].get("type")
    if given or kind == "classes":
        return str(given) if given else None
    return _folder(run, "clip", models) if kind == "clip" else str(run / "models" / name)


def named(paths: Sequence[str]) -> dict[str, Path]:
    """Checkpoints that were given by their paths, each under its own path."""
    return {str(Path(path)): Path(path) for path in paths}


def read_form_config(path: Path, options: Sequence[str], save_dir: Path) -> dict[str, Any]:
    """The sampling config, with what the form fills in left out, checked as far as it goes.

    Args:
        path: of the config.
        options: overrides, as on the command line.
        save_dir: where samples go.

    Raises:
        ConfigError: a field is missing or can not work.
    """
    config = load_config(path, options, known=FIELDS, kind="inference").to_dict()
    if config.get("prompt") or config.get("prompt_path"):
        raise ConfigError(f"{path}: names prompts, which the page asks for; leave them out")
    for name in ("prompt", "prompt_path", "reference_path", "mask_strategy"):
        config.pop(name, None)
    config["save_dir"] = str(save_dir)
    if SamplingSettings.from_config(config).sp_size > 1:
        raise ConfigError("sp_size: the page samples in one process; set it to 1")
    return config


def check_weights(config: Mapping[str, Any], checkpoints: Mapping[str, Path]) -> None:
    """Refuse to open a page whose weights are not there.

    Args:
        config: of sampling.
        checkpoints: name -> file or folder of weights.

    Raises:
        ConfigError: nothing names weights.
        CheckpointError: they are not there.
    """
    if not checkpoints:
        raise ConfigError("there are no weights to sample with; name a run or give --ckpt-path")
    for path in checkpoints.values():
        find_trained_model({**(config.get("model") or {}), "from_pretrained": str(path)})
    for name in _FOLDERS:
        fields = config.get(name) or {}
        if fields.get("type") == "classes":
            continue
        if not fields.get("from_pretrained"):
            option = name.replace("_", "-")
            raise ConfigError(f"{name} has no weights; give their folder with --{option}")
        resolve_folder(fields["from_pretrained"], kind=name, local_files_only=True)
