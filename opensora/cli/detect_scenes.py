"""`opensora detect-scenes`."""

import argparse

from opensora.core.arguments import count, not_negative, positive, table_file

HELP = "Find the cuts, dissolves and fades in each video of a table."
EXAMPLE = "opensora detect-scenes --videos mine/shards/0000.csv --output mine/scenes/0000.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--videos", required=True, help="table that ingest-videos made")
    parser.add_argument(
        "--output", type=table_file, required=True, help="table of scenes, .csv or .parquet"
    )
    parser.add_argument(
        "--detector",
        default="content",
        help="PySceneDetect's content, adaptive, threshold, hash or histogram; none takes each file"
        " as one scene",
    )
    parser.add_argument(
        "--threshold",
        type=positive,
        help="of the detector (content 27, adaptive 3, threshold 12, hash 0.35, histogram 0.2)",
    )
    parser.add_argument(
        "--min-scene-s",
        type=not_negative,
        default=0.5,
        help="seconds; a scene between cuts that is shorter goes no further",
    )
    parser.add_argument(
        "--transitions",
        default="drop",
        help="dissolves and fades: drop them, split them in the middle, or off",
    )
    parser.add_argument("--workers", type=count, default=1, help="videos looked at side by side")
    parser.add_argument(
        "--timeout-s",
        type=positive,
        default=300.0,
        help="seconds for a video, and one more for every 10 million pixels",
    )


def run(args: argparse.Namespace) -> str:
    """Detect; returns the summary line."""
    from opensora.core.text import counted
    from opensora.curation.scenes.boundaries import SceneSettings
    from opensora.curation.scenes.detect_scenes import detect_scenes
    from opensora.tables.columns import SCENES, VIDEOS
    from opensora.tables.io import read_table, write_table

    settings = SceneSettings(args.detector, args.threshold, args.min_scene_s, args.transitions)
    videos = read_table(args.videos, VIDEOS)
    scenes = detect_scenes(videos, settings, workers=args.workers, timeout_s=args.timeout_s)
    write_table(scenes, args.output, SCENES)
    good = int((scenes["status"] == "ok").sum())
    return f"{counted(good, 'scene')} in {counted(len(videos), 'video')} -> {args.output}"
