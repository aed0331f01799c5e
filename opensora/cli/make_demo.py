"""`opensora make-demo`: render the built-in demo world."""

import argparse

from opensora.core.arguments import count, whole

HELP = "Render the built-in demo world: raw videos, images, captions, and the truth about them."
EXAMPLE = "opensora make-demo --output mine/world"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--output", required=True, help="folder to make; an older world is replaced"
    )
    parser.add_argument("--num-videos", type=count, default=64, help="raw videos (default 64)")
    parser.add_argument("--num-images", type=whole, default=240, help="still images (default 240)")
    parser.add_argument(
        "--scenes-per-video", type=count, default=10, help="scenes in each video (default 10)"
    )
    parser.add_argument(
        "--colours",
        nargs="+",
        default=["red", "green", "blue", "yellow"],
        metavar="NAME",
        help="that films and stills show (default: red green blue yellow)",
    )
    parser.add_argument("--seed", type=int, default=42, help="seed of the whole world (default 42)")


def run(args: argparse.Namespace) -> str:
    """Make the world."""
    from opensora.core.errors import ConfigError
    from opensora.demo.make import make_demo

    try:
        made = make_demo(
            args.output,
            num_videos=args.num_videos,
            num_images=args.num_images,
            scenes_per_video=args.scenes_per_video,
            seed=args.seed,
            colours=args.colours,
        )
    except ValueError as error:
        raise ConfigError(f"make-demo: {error}") from error
    return (
        f"{made.num_films} films of {made.num_scenes} scenes, {made.num_stills} stills and"
        f" {made.num_trouble} troublesome files in {args.output}"
    )
