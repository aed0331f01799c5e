"""`opensora split-clips`."""

import argparse

from opensora.core.arguments import count, not_negative, positive, table_file

HELP = "Cut scenes into clip files; a clip that is in the store is not cut again."
EXAMPLE = (
    "opensora split-clips --scenes mine/scenes/0000.csv --output mine/clips/0000.csv"
    " --store mine/store/clips --min-s 1 --max-s 10"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--scenes", required=True, help="table that detect-scenes made")
    parser.add_argument(
        "--output", type=table_file, required=True, help="table of clips, .csv or .parquet"
    )
    parser.add_argument(
        "--store",
        required=True,
        metavar="DIR",
        help="folder of the clip files, named by what decides their content; runs may share it",
    )
    parser.add_argument("--min-s", type=not_negative, default=1.0, help="shortest clip in seconds")
    parser.add_argument("--max-s", type=positive, default=10.0, help="longest clip in seconds")
    parser.add_argument("--fps", type=positive, help="target rate; slower sources keep theirs")
    parser.add_argument(
        "--short-side", type=count, help="target short side in pixels; smaller sources keep theirs"
    )
    parser.add_argument(
        "--mode",
        default="reencode",
        help="reencode cuts at any frame; copy takes the stream as it is, between keyframes",
    )
    parser.add_argument(
        "--audio",
        default="drop",
        help="keep gives each new clip the sound of its time, as AAC of 48,000 Hz in stereo, where"
        " the video has any (default: drop)",
    )
    parser.add_argument("--workers", type=count, default=1, help="videos cut side by side")
    parser.add_argument(
        "--timeout-s",
        type=positive,
        default=300.0,
        help="seconds for a video, and half a second more for every frame",
    )


def run(args: argparse.Namespace) -> str:
    """Cut; returns the summary line."""
    from opensora.core.text import counted
    from opensora.curation.clips.lengths import ClipSettings
    from opensora.curation.clips.split_clips import split_clips
    from opensora.tables.columns import CLIPS, SCENES
    from opensora.tables.io import read_table, write_table

    lengths = args.min_s, args.max_s
    settings = ClipSettings(*lengths, args.fps, args.short_side, args.mode, args.audio)
    clips = split_clips(
        read_table(args.scenes, SCENES),
        args.store,
        settings,
        workers=args.workers,
        timeout_s=args.timeout_s,
    )
    write_table(clips, args.output, CLIPS)
    good = clips[clips["status"] == "ok"]
    seconds = (good["end"] - good["start"]).sum()
    return f"{counted(len(good), 'clip')}, {seconds:.1f} s of footage -> {args.output}"
