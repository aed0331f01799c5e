"""`opensora detect-scenes`."""

import argparse

HELP = "Find the cuts in each video of a table with PySceneDetect."
EXAMPLE = "opensora detect-scenes --videos shards/0000.csv --output scenes/0000.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--videos", required=True, help="table that ingest-videos made")
    parser.add_argument("--output", required=True, help="table of scenes")
    parser.add_argument("--detector", default="content", help="content or adaptive")
    parser.add_argument("--threshold", type=float, help="of the detector (content 27, adaptive 3)")
    parser.add_argument(
        "--min-scene-s", type=float, default=0.5, help="seconds between two cuts at least"
    )


def run(args: argparse.Namespace) -> str:
    """Detect; returns the summary line."""
    from opensora.curation.scenes import detect_scenes
    from opensora.tables.columns import SCENES, VIDEOS
    from opensora.tables.io import read_table, write_table

    videos = read_table(args.videos, VIDEOS)
    scenes = detect_scenes(
        videos, detector=args.detector, threshold=args.threshold, min_scene_s=args.min_scene_s
    )
    write_table(scenes, args.output, SCENES)
    good = int((scenes["status"] == "ok").sum())
    return f"{good} scenes in {len(videos)} videos -> {args.output}"
