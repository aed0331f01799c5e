"""`opensora check`."""

import argparse
from pathlib import Path
from typing import Any

HELP = (
    "Read a workflow config, every config that it names and its rules as the commands will that run"
    " hours later; nothing is run. `snakemake` does it at its start."
)
EXAMPLE = "opensora check configs/workflow/demo.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="workflow config (.yaml)")
    parser.add_argument(
        "--settled",
        action="store_true",
        help="the file is what a run has read and completed already, as results/RUN/config.yaml",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where paths of configs start (default: here)",
    )


def run(args: argparse.Namespace) -> str:
    """Check; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.dag.configs import check_configs
    from opensora.dag.early import check_prompts, read_workflow_config
    from opensora.dag.measured import check_measured
    from opensora.dag.settings import check_workflow_config

    schema = args.repository / "workflow/schemas/config.schema.yaml"
    if not schema.is_file():
        raise ConfigError(f"{schema}: no such file; run this in the folder of the workflow")
    config = read_workflow_config(args.config)
    if not args.settled:
        check_workflow_config(config, schema)
        check_prompts(config["sample"]["prompts"])
        check_configs(config, args.repository, f"results/{config['run']}")
        check_measured(config)
    return f"{_check(config, args.repository)} configs of {args.config} can be used"


def _check_rules(config: dict[str, Any]) -> None:
    """Whether the rules of each source of videos speak of columns that scorers write."""
    from opensora.config.run_sources import sources_of
    from opensora.core.errors import ConfigError
    from opensora.curation.manifest.early import check_rules

    sources = sources_of(config)
    scored = [source for source in sources if not source.get("manifest")]
    common = {}
    if len(scored) == len(sources):  # ready clips have other columns, which these may mean
        common = {"prefer": config["prefer"], "max_distance": config["dedup"]["max_distance"]}
    for source in scored:
        rules = {"filters": source["filters"], "keep_if": source["keep_if"], **common}
        try:
            check_rules(config["scorers"], **rules)
        except ConfigError as error:
            if source["name"] is None:
                raise
            raise ConfigError(f"sources: {source['name']}: {error}") from error


def _check(config: dict[str, Any], repository: Path) -> int:
    """What only the packages that compute can tell; returns the number of configs."""
    from opensora.config.latent_grid import run_grid
    from opensora.config.load import load_config
    from opensora.encoders.train_clip import ClipConfig
    from opensora.encoders.train_text_encoder import TextEncoderConfig
    from opensora.encoders.train_vae import VaeConfig
    from opensora.encoders.trainer import read_fields
    from opensora.sampling.checks import check_config
    from opensora.training.ready import Encoded, check_stage

    if not config["manifest"]:
        _check_rules(config)
    encode, names = config["encode"], []
    encoded = Encoded(
        texts=config["models"]["text_encoder"]["type"],
        given=encode["given"],
        has_pictures=encode["image_encoder"] is not None,
    )
    for number, stage in enumerate(config["stages"]):
        names.append(stage["config"])
        check_stage(
            repository / stage["config"],
            encoded,
            online=stage["online"],
            continues=bool(number or stage["load"]),
            gpus=stage["gpus"],
        )
    kinds = {"vae": VaeConfig, "clip": ClipConfig, "text_encoder": TextEncoderConfig}
    for name, kind in kinds.items():
        model = config["models"][name]
        if model["config"] and not model["from_pretrained"]:
            names.append(model["config"])
            read_fields(repository / model["config"], [], kind)
    names.append(config["sample"]["config"])
    last = load_config(repository / config["stages"][-1]["config"]).to_dict()
    check_config(
        repository / config["sample"]["config"],
        trained=last.get("scheduler") or {},
        stride=run_grid(config, lambda name: load_config(repository / name).to_dict()).stride,
    )
    return len(set(names))
