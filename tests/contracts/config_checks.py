"""What each command checks before it computes: its config, its options, the names in them."""

import importlib
from argparse import Namespace
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml

from opensora.config.endpoint import Endpoint, parse_endpoint
from opensora.config.load import load_config, override_config, parse_overrides
from opensora.config.registry import CAPTIONERS, SCORERS, check_fields, registered_names
from tests.contracts.shown_paths import REPOSITORY, Refused, bring


def fields_of(name: str) -> Collection[str]:
    from opensora.sampling.settings import FIELDS
    from opensora.training.config import KNOWN_FIELDS

    return FIELDS if name == "sample" else KNOWN_FIELDS


def kind_of(name: str) -> Any:
    return {"sample": "inference", "train": "train"}.get(name)


def check_train(args: Namespace) -> None:
    from opensora.training.config import read_train_config

    read_train_config(args.config, args.overrides, outputs=args.outputs, load=args.load)


def check_sample(args: Namespace) -> None:
    from opensora.cli.sample import given_options
    from opensora.sampling.prompt_text import loop_texts
    from opensora.sampling.prompts import prompts_of
    from opensora.sampling.settings import FIELDS, SamplingSettings

    words = [*given_options(args), *args.overrides]
    is_folder = args.config == "FOLDER" or Path(args.config or "x").is_dir()  # of a model
    if args.config is None or is_folder:  # what a record, or nothing, stands in the place of
        alone = bool(args.replay) != bool(args.join_parts) or is_folder
        assert alone, "the following arguments are required: config"
        override_config({}, words, place="", known=FIELDS, kind="inference")
        return
    config = load_config(args.config, words, known=FIELDS, kind="inference").to_dict()
    settings = SamplingSettings.from_config(config)
    for prompt in prompts_of(config, settings):
        loop_texts(prompt.text, settings.loop, str)


def check_search(args: Namespace) -> None:
    from opensora.buckets.bucket_config import parse_bucket_config
    from opensora.plans.stage_plan import bucket_config_of
    from opensora.training.config import KNOWN_FIELDS
    from opensora.training.fit.step_timer import require_parts

    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    require_parts(config)
    rules = parse_bucket_config(bucket_config_of(config), ranges=True)
    known = [f"{rule.resolution}:{rule.num_frames}" for rule in rules]
    assert args.base_bucket in (None, *known), args.base_bucket


def check_buckets(args: Namespace) -> None:
    from opensora.buckets.bucket_config import parse_bucket_config
    from opensora.plans.balance import check_balance_mode
    from opensora.plans.bars import check_plot_path
    from opensora.plans.stage_plan import bucket_config_of
    from opensora.training.config import KNOWN_FIELDS

    check_plot_path(args.plot)
    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    check_balance_mode(config.get("balance"))
    parse_bucket_config(bucket_config_of(config))


def check_plan(args: Namespace) -> None:
    from opensora.plans.budget.machine import gpu_peak

    if (args.explain or args.sources) and args.config:
        check_workflow(args.config, {})
        return
    if args.propose_buckets:
        check_buckets(args)
        return
    if args.config is None:
        raise Refused("the following arguments are required: CONFIG")
    assert args.data_path, "a forecast needs --data-path"
    assert not args.target, "--target belongs to --explain"
    gpu_peak(args.gpu)
    check_buckets(args)


def check_encoder(args: Namespace, module: str, config: str) -> None:
    from opensora.encoders.trainer import read_fields

    fields = getattr(importlib.import_module(f"opensora.encoders.{module}"), config)
    read_fields(args.config, args.overrides, fields)


def check_convert(args: Namespace) -> None:
    from opensora.models.build import build_empty
    from opensora.models.device import DTYPES

    assert args.dtype in (None, *DTYPES)
    fields = dict(parse_overrides(args.overrides))
    assert args.type or not fields
    if args.type:
        build_empty(args.type, fields)


def check_bench(args: Namespace) -> None:
    if args.subject == "model":
        from opensora.bench.model import check_types

        fields = dict(
            parse_overrides(["--cfg-options", *args.cfg_options]) if args.cfg_options else []
        )
        check_types(args.type, fields)
    elif args.subject == "curation":
        assert bool(args.videos) != (args.long_video is not None), "VIDEOS or --long-video"


def check_ingest(args: Namespace) -> None:
    assert (args.shards_dir is None) == (args.num_shards is None), "--shards-dir, --num-shards"


def check_scenes(args: Namespace) -> None:
    from opensora.curation.scenes.boundaries import SceneSettings

    SceneSettings(args.detector, args.threshold, args.min_scene_s, args.transitions)


def check_clips(args: Namespace) -> None:
    from opensora.curation.clips.lengths import ClipSettings

    ClipSettings(args.min_s, args.max_s, args.fps, args.short_side, args.mode)


def check_scores(args: Namespace) -> None:
    from opensora.cli.score_clips import _options

    for name, options in _options(args).items():
        check_fields({"type": name, **options}, SCORERS)
    assert ("match" in args.scorer) == (args.captions is not None)


def check_captions(args: Namespace) -> None:
    assert args.captioner in registered_names(CAPTIONERS)
    assert (args.captioner in ("transformers", "openai")) == (args.model is not None)
    if args.captioner == "openai":
        assert Endpoint is type(parse_endpoint(args.endpoint))


def check_manifest(args: Namespace) -> None:
    from opensora.cli.build_manifest import _group_scores, _parse_object, _parse_sources
    from opensora.curation.manifest.filters import parse_filters
    from opensora.tables.columns import MANIFEST

    scorers = _group_scores(args.scores)
    assert scorers.keys() <= set(registered_names(SCORERS))
    columns = {"aesthetic": "aes"}
    known = {*MANIFEST.columns, *(columns.get(name, name) for name in scorers)}
    rules = [_parse_object(args.filters, "--filters")]
    rules += [source.filters for source in _parse_sources(args.sources).values()]
    for filters in rules:
        assert {bound.column for bound in parse_filters(filters)} <= known


def check_import(args: Namespace) -> None:
    from opensora.tables.io import read_table, with_known_names

    assert {"path", "text"} <= set(with_known_names(read_table(args.table)))


def check_workflow(configs: Any, overrides: dict[str, Any]) -> None:
    """Check the values of a workflow config against its schema."""
    from snakemake.utils import update_config

    from opensora.core.errors import ConfigError
    from opensora.dag.settings import check_workflow_config

    config: dict[str, Any] = {}
    for path in configs if isinstance(configs, list) else [configs]:
        update_config(config, yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    update_config(config, overrides)
    for name in config.get("videos") or []:
        bring(Path.cwd(), name)
    try:
        check_workflow_config(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
    except ConfigError as error:
        raise Refused(str(error)) from error


CHECKS: dict[str, Callable[[Namespace], None]] = {
    "train": check_train,
    "sample": check_sample,
    "search-batch-size": check_search,
    "assign-buckets": check_buckets,
    "plan": check_plan,
    "train-vae": lambda args: check_encoder(args, "train_vae", "VaeConfig"),
    "train-clip": lambda args: check_encoder(args, "train_clip", "ClipConfig"),
    "train-text-encoder": lambda args: check_encoder(
        args, "train_text_encoder", "TextEncoderConfig"
    ),
    "convert-checkpoint": check_convert,
    "bench": check_bench,
    "ingest-videos": check_ingest,
    "detect-scenes": check_scenes,
    "split-clips": check_clips,
    "score-clips": check_scores,
    "caption-clips": check_captions,
    "build-manifest": check_manifest,
    "import-manifest": check_import,
}


# -------------------------------------------------------------------------------- other programs
