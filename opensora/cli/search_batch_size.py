"""`opensora search-batch-size`: batch sizes that fit memory and make all buckets take as long."""

import argparse
from typing import Any

from opensora.core.arguments import count

HELP = (
    "Find the batch size of every bucket: on a GPU the largest that fits and takes no longer than"
    " the base bucket, on a CPU by time alone. Writes the config with what was found. Any field of"
    " the config can be given as --field VALUE."
)
EXAMPLE = (
    "opensora search-batch-size configs/opensora-v1-1/train/stage2.py --data-path mine/manifest.csv"
    " --base-bucket 240p:16 --output mine/stage2_batches.py"
)
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", help="training config (.py); batch sizes may be (low, high)")
    parser.add_argument("--output", required=True, metavar="FILE", help="the new config (.py)")
    parser.add_argument(
        "--data-path",
        metavar="FILE",
        help="manifest; a batch is then no larger than the clips of a bucket",
    )
    parser.add_argument(
        "--base-bucket",
        metavar="RESOLUTION:FRAMES",
        help="bucket that sets the time of a step (default: the one of the costliest samples)",
    )
    parser.add_argument(
        "--max-batch-size",
        type=count,
        default=512,
        metavar="N",
        help="end of the search where the config gives no range (default: 512)",
    )
    parser.add_argument(
        "--repeats", type=count, default=3, metavar="N", help="timed steps per size (default: 3)"
    )
    parser.add_argument(
        "--vae-stride",
        type=count,
        nargs=3,
        metavar=("T", "H", "W"),
        help="pixels of one latent value (default: as the config's vae says, or 1 8 8)",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:1; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Search, print, write; returns the summary line."""
    import torch

    from opensora.buckets.bucket_config import parse_bucket_config
    from opensora.config.latent_grid import config_grid
    from opensora.config.load import load_config, save_config
    from opensora.core.log import say
    from opensora.models.device import choose_device
    from opensora.plans.stage_plan import bucket_config_of, token_grid
    from opensora.training.config import KNOWN_FIELDS
    from opensora.training.fit.search_batch_size import (
        choose_base,
        fill_in,
        found_table,
        search_all,
    )
    from opensora.training.fit.step_timer import StepTimer, require_parts

    loaded = load_config(args.config, args.overrides, known=KNOWN_FIELDS)
    config = loaded.to_dict()
    require_parts(config)
    buckets = bucket_config_of(config)
    rules = parse_bucket_config(buckets, ranges=True)
    latents = config_grid(config, args.vae_stride)
    grid = token_grid(config, latents.stride, latents.chunk)
    timer = StepTimer(config, grid, torch.device(choose_device(args.device)), repeats=args.repeats)
    base = choose_base(
        rules,
        args.base_bucket,
        lambda rule: timer.cost.forward_flops(grid.token_grid(timer.largest_shape(rule))),
    )
    held = _held(args.data_path, config, rules) if args.data_path else None
    found = search_all(rules, timer, base=base, largest=args.max_batch_size, held=held)
    filled = fill_in(buckets, rules, found)
    if config.get("bucket_config"):
        loaded["bucket_config"] = filled
    else:  # one fixed size
        loaded["batch_size"] = next(iter(next(iter(filled.values())).values()))[1]
    save_config(loaded, args.output)
    say(found_table(found, base))
    fitting = sum(best is not None for best in found.values())
    where = f"{base.resolution}:{base.num_frames}"
    return f"{fitting} of {len(found)} buckets, base {where} -> {args.output}"


def _held(path: str, config: dict[str, Any], rules: Any) -> dict[tuple[str, int], int]:
    """Clips of the fullest aspect ratio of each bucket."""
    from opensora.buckets.assignment import BucketLookup
    from opensora.buckets.crop import check_max_crop
    from opensora.plans.stage_plan import frame_interval_of, training_clips
    from opensora.tables.manifest import read_manifest

    clips = training_clips(read_manifest(path))
    most = check_max_crop(config.get("max_crop"))
    table = BucketLookup(rules, frame_interval_of(config), max_crop=most)
    frames, height, width = (clips[name].to_numpy() for name in ("num_frames", "height", "width"))
    held: dict[tuple[str, int], int] = {}
    for (resolution, length, _), clips_in in table.expected_clips(frames, height, width, 1).items():
        key = (resolution, length)
        held[key] = max(held.get(key, 0), round(clips_in))
    return held
