"""Checked configuration, path lists and wildcard constraints."""

from pathlib import Path

from opensora.core.errors import ConfigError
from opensora.core.versions import VERSIONS
from opensora.core.workflow import (
    check_workflow_config,
    is_local_path,
    listing_hash,
    save_workflow_config,
)

REPOSITORY = Path(workflow.basedir)

try:
    check_workflow_config(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
except ConfigError as error:
    raise WorkflowError(str(error))

RUN = f"results/{config['run']}"
SHARDS = [f"{shard:04d}" for shard in range(config["num_shards"])]
STAGE = {stage["name"]: stage for stage in config["stages"]}
STAGES = list(STAGE)
SAMPLED_STAGES = config["sample"]["stages"] or STAGES[-1:]
PREVIOUS_STAGE = dict(zip(STAGES[1:], STAGES))
DEMO = f"{RUN}/raw"  # the demo world, where the config asks for one


wildcard_constraints:
    shard=r"\d{4}",
    scorer="|".join(config["scorers"]),
    stage="|".join(STAGES),


def in_repository(path):
    """A config file named in the workflow config; absolute paths stay what they are."""
    return str(REPOSITORY / path)


def videos():
    """What the run reads: the demo world or the user's folders, globs and lists."""
    return [f"{DEMO}/videos"] if config["demo"] else config["videos"]


def video_files():
    """The part of videos() that exists as a path; a glob is expanded by ingest itself."""
    return [path for path in videos() if not any(mark in path for mark in "*?[")]


def sidecars():
    """Caption tables."""
    return [f"{DEMO}/captions.csv"] if config["demo"] else config["captions"]["sidecar"]


def prompts():
    """The prompts to sample."""
    own = config["sample"]["prompts"]
    return own if own else f"{DEMO}/prompts.txt"


def shard_tables(stage):
    """All shards of one stage's table."""
    return expand(f"{RUN}/{stage}/{{shard}}.csv", shard=SHARDS)


def model_folder(name):
    """The folder or hub name of an encoder: given weights, or what the DAG trains."""
    return config["models"][name]["from_pretrained"] or f"{RUN}/models/{name}"


def model_files(name):
    """The same as a dependency; a hub name is none."""
    given = config["models"][name]["from_pretrained"]
    return [] if given and not is_local_path(given) else [model_folder(name)]


def truth():
    """What the demo world knows about itself; kept for evaluation."""
    return [f"{DEMO}/truth"] if config["demo"] else []
