"""Checked configuration, path lists and wildcard constraints."""

import gc
import os
import sys
from pathlib import Path

from opensora.config.latent_grid import run_grid
from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.versions import VERSIONS
from opensora.dag.configs import (
    check_configs,
    contents_of,
    encoder_fields,
    plan_fields,
    reference_hashes,
    resolved,
    sampling_fields,
    training_fields,
    weights_of,
)
from opensora.dag.early import check_deeply, check_prompts
from opensora.dag.identity import identity, know_signatures
from opensora.dag.layout import require_layout
from opensora.dag.mark import remove_marks
from opensora.dag.measured import (
    check_measured,
    compared_evaluations,
    reported_stages,
    sampled_points,
    vbench_files,
)
from opensora.dag.names import as_given, plain_names, present, stamps
from opensora.dag.resources import Requests
from opensora.dag.settings import (
    check_workflow_config,
    is_local_path,
    report_settings,
    save_workflow_config,
)
from opensora.config.run_sources import num_shards_of, sources_of

REPOSITORY = Path(workflow.basedir)
WITHOUT_PROMPTS = {"curate_all", "precompute_all", "train_all"}

# the graph of the jobs grows and stays: to look through it for garbage again and again finds none
gc.freeze()
gc.set_threshold(100_000, 20, 100)

try:
    check_workflow_config(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
    if workflow.is_main_process:  # its jobs need not check again
        check_configs(config, REPOSITORY, f"results/{config['run']}")
        if not WITHOUT_PROMPTS & set(sys.argv):  # targets are not known yet
            check_prompts(config["sample"]["prompts"])
        check_measured(config)
        require_layout(f"results/{config['run']}")
        check_deeply(
            config,
            contents_of(config, REPOSITORY),
            REPOSITORY,
            Path(f"results/{config['run']}"),
        )
except OpenSoraError as error:
    raise WorkflowError(str(error))

RUN = f"results/{config['run']}"
WINDOWS = config["encode"]["windows"]
SOURCES = sources_of(config)  # one without a name where the config has no `sources`
SHARDS = [f"{shard:04d}" for shard in range(num_shards_of(config))]
# those of videos come first, those of ready clips behind them
READY = [source for source in SOURCES if source.get("manifest")]
VIDEO_SHARDS = SHARDS[: config["num_shards"] * (len(SOURCES) - len(READY))]
CORRECTIONS = present([config["corrections"]])
STAGE = {stage["name"]: stage for stage in config["stages"]}
STAGES = list(STAGE)
# what training makes weights at: the milestones of a stage, as `stage1@100`, and its end
POINTS = {
    name: [*(f"{name}@{step}" for step in STAGE[name]["milestones"]), name]
    for name in STAGES
}
POINT = "|".join(point for points in POINTS.values() for point in points)
STORED_STAGES = [name for name in STAGES if not STAGE[name]["online"]]
SAMPLED_STAGES = config["sample"]["stages"] or STAGES[-1:]
REPORTED_STAGES = reported_stages(config)
SAMPLED_POINTS = sampled_points(config)
FRAME_SCORERS = [name for name in config["scorers"] if name != "match"]
# a stage beside another one does not go on from weights of its kind
PREVIOUS_STAGE = {
    name: before for name, before in zip(STAGES[1:], STAGES) if not STAGE[name]["other"]
}
STORE = "results/store"  # what runs share: kept, looked up, nobody's output
MANIFEST = f"{RUN}/manifest"  # folder of a partition a shard
PARTITIONS = expand(f"{MANIFEST}/{{shard}}.parquet", shard=SHARDS)
# what a rule that reads the tables of all shards depends on, where it or the rule that makes them has
# many outputs: bytes and hash of each. Snakemake compares every file that it looks up with all inputs
# of the rule that makes it, and hashes and writes down all inputs of a job for each of its outputs.
TABLE_INDEX = f"{RUN}/tables.json"
PARTITION_INDEX = f"{MANIFEST}/index.json"
CURATED_AT_ONCE = [
    PARTITION_INDEX,
    *(f"{RUN}/{name}" for name in ("rejected.csv", "funnel.json", "data_card.md")),
]
CURATED = [*PARTITIONS, *CURATED_AT_ONCE]
DEMO = f"{RUN}/raw"  # the demo world, where the config asks for one


def partition_file():
    """The file of a cluster's partitions, known once the run has begun."""
    given = getattr(workflow.executor_settings, "partition_config", None)
    return given or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS")


def resolve(path):
    """A config of the repository, read."""
    return resolved(str(REPOSITORY / path))


asks = Requests(
    config,
    resolve=resolve,
    partitions=partition_file,
)


def refuse_what_no_node_has():
    """Say before anything is submitted what the cluster could not take."""
    from opensora.dag.cluster.gate import check_cluster

    try:
        check_cluster(workflow, workflow.dag.needrun_jobs(), partition_file())
    except ConfigError as error:
        raise WorkflowError(str(error))


wildcard_constraints:
    shard=r"\d{4}",
    stage="|".join(STAGES),


def in_repository(path):
    """A config file named in the workflow config; absolute paths stay what they are.

    No input, for its time says nothing: what a rule reads of it stands in its identity. As a
    parameter it is a function of `input`, because Snakemake compares those of others.
    """
    return str(REPOSITORY / path)


def stage_of(point):
    """The stage that a milestone belongs to: `stage1` of `stage1@100`."""
    return point.partition("@")[0]


def milestone_step(point):
    """The step of a milestone; None for the end of a stage."""
    return point.partition("@")[2] or None


def milestone_before(point):
    """The milestone that training goes on from; None for the first part of a stage."""
    points = POINTS[stage_of(point)]
    place = points.index(point)
    return points[place - 1] if place else None


def stage_config(wildcards, input=None):
    """The config file of a stage."""
    return in_repository(STAGE[stage_of(wildcards.stage)]["config"])


def starts_itself(wildcards):
    """Whether the config of a stage says what it starts from, and not the workflow."""
    stage = stage_of(wildcards.stage)
    return stage not in PREVIOUS_STAGE and not STAGE[stage]["load"]


def loaded(point):
    """The weights that training starts from, or that lie beside what it goes on from."""
    stage = stage_of(point)
    if former := milestone_before(point) or PREVIOUS_STAGE.get(stage):
        return [f"{RUN}/train/{former}/ema.safetensors"]
    return [STAGE[stage]["load"]] if STAGE[stage]["load"] else []


def load_options(point):
    """What train is told to start from: weights, or the checkpoint of the last milestone."""
    former = milestone_before(point)
    return options(load=f"{RUN}/train/{former}/state" if former else loaded(point))


def given_weights():
    """What the workflow's config names of the weights that stages train with."""
    loads = [stage["load"] for stage in STAGE.values() if stage["load"]]
    return [*loads, *model_files("vae"), *model_files("text_encoder")]


def stage_weights(wildcards):
    """The weights that the config of a stage names itself."""
    return weights_of(stage_config(wildcards), starts_itself=starts_itself(wildcards))


# most captions of a clip, where it is more than one
SEVERAL_CAPTIONS = [n for n in [config["captions"]["per_clip"]] if n > 1]


def prompts():
    """The prompts to sample."""
    own = config["sample"]["prompts"]
    return own if own else f"{DEMO}/prompts.txt"


def shard_tables(stage):
    """All shards of one stage's table; of ready clips there are none."""
    return expand(f"{RUN}/{stage}/{{shard}}.parquet", shard=VIDEO_SHARDS)


def every_shard(stage):
    """The same for a command, in one word: the names of a thousand tables are too long for it."""
    return f"{RUN}/{stage}/{{shard}}.parquet" if VIDEO_SHARDS else []


def score_tables():
    """All shards of all scorers; a run that enters with a manifest has none."""
    scorers = [] if config["manifest"] else config["scorers"]
    return expand(
        f"{RUN}/scores/{{scorer}}/{{shard}}.parquet", scorer=scorers, shard=VIDEO_SHARDS
    )


def scorer_options(scorers):
    """The options of those scorers that have some."""
    given = config["scorer_options"]
    return {name: given[name] for name in scorers if name in given}


def vae_grid():
    """What the autoencoder of the run makes of a video."""
    return run_grid(config, resolve)


def local_files(names):
    """Those of given weights that lie here; the others are names on a hub."""
    return [name for name in names if name and is_local_path(name)]


def scorer_files(scorers):
    """The weights among the options of scorers."""
    return local_files(
        value for given in scorer_options(scorers).values() for value in given.values()
    )


def options(**values):
    """Command-line words for the values that are set: `prefer="aes"` is `--prefer aes`."""
    words = []
    for name, value in values.items():
        if value not in (None, []):
            several = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, several)]
    return words


def model_folder(name):
    """The folder or hub name of an encoder: given weights, or what the DAG trains.

    Class labels have none, nor has a run a CLIP that names none; texts of type clip are read by
    models.clip where nothing else is given.
    """
    given = config["models"][name]["from_pretrained"]
    if name != "text_encoder" or given:
        trained = f"{RUN}/models/{name}" if config["models"][name]["config"] else None
        return given or trained
    return {
        "t5": f"{RUN}/models/text_encoder",
        "umt5": f"{RUN}/models/text_encoder",
        "clip": model_folder("clip"),
        "classes": None,
    }.get(
        config["models"]["text_encoder"]["type"]
    )  # others are refused without weights


def model_files(name):
    """The same as a dependency; a hub name is none."""
    folder = model_folder(name)
    return [folder] if is_made_here(folder) else local_files([folder])


def given_frames():
    """What is stored of the frames that models begin with; nothing where none are given."""
    names = ("given", "image_encoder")
    return {name: config["encode"][name] for name in names if config["encode"][name]}


def read_pictures():
    """What reads given frames for sampling; nothing where models read none."""
    return {n: value for n, value in given_frames().items() if n == "image_encoder"}


def picture_files():
    """The pipeline whose CLIP reads given frames, as a dependency; a hub name is none."""
    return local_files([config["encode"]["image_encoder"]])


def is_made_here(folder):
    """Whether the run trains this encoder."""
    return bool(folder) and folder.startswith(f"{RUN}/models/")


def trained_models():
    """The encoders that the run trains."""
    return sorted(
        filter(is_made_here, {model_folder(name) for name in config["models"]})
    )


def text_encoder_options():
    """What encode_captions is told of the text encoder."""
    return options(
        type=config["models"]["text_encoder"]["type"],
        text_encoder=model_folder("text_encoder"),
        num_classes=config["models"]["text_encoder"]["num_classes"],
        max_length=config["encode"]["max_length"],
    )


def training_data(stage):
    """What a stage trains on: stores, or the clips and the encoders themselves."""
    if STAGE[stage]["online"]:
        return [
            PARTITION_INDEX,
            *plain_names(model_files("vae")),
            *plain_names(model_files("text_encoder")),
        ]
    return [*latent_indexes([stage]), *embedding_indexes()]


def stored_data(stage):
    """The indexes of what was encoded ahead for a stage; none where it encodes as it goes."""
    return [] if STAGE[stage]["online"] else training_data(stage)


def latent_indexes(stages):
    """Which rows of the store are the clips of some stages."""
    return expand(
        f"{RUN}/latents/{{stage}}/{{shard}}.parquet", stage=stages, shard=SHARDS
    )


def embedding_indexes():
    """Which rows of the store are the captions of the run."""
    return expand(f"{RUN}/embeddings/{{shard}}.parquet", shard=SHARDS)


def data_options(stage):
    """The same as options of train."""
    length = config["encode"]["max_length"]
    if STAGE[stage]["online"]:
        return [
            *("--dataset.type", "VariableVideoTextDataset"),
            *("--data-path", MANIFEST),
            *("--vae.from_pretrained", model_folder("vae")),
            *("--text-encoder.type", config["models"]["text_encoder"]["type"]),
            *("--text-encoder.from_pretrained", model_folder("text_encoder")),
            *(["--text-encoder.model-max-length", length] if length else []),
        ]
    return [
        *("--dataset.latents", f"{RUN}/latents/{stage}"),
        *("--dataset.embeddings", f"{RUN}/embeddings"),
    ]


def validation_plan(stage):
    """The plan of the clips on which a stage measures its held-out loss, where it does."""
    if STAGE[stage]["online"] or not resolved(
        in_repository(STAGE[stage]["config"]), "train"
    ).get("eval_every"):
        return []
    return [f"{RUN}/buckets/{stage}/validation.parquet"]


def processes(stage):
    """Workers on each node: one a GPU, or as many as the config says on the CPU."""
    return STAGE[stage]["gpus"] or STAGE[stage]["processes"]


def world_size(stage):
    """Workers of all nodes; the plan deals its batches out to them."""
    return STAGE[stage]["nodes"] * processes(stage)


def truth():
    """What the demo world knows about itself; kept for evaluation."""
    return [f"{DEMO}/truth"] if config["demo"] else []
