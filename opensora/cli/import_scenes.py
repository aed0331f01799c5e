"""`opensora import-scenes`."""

import argparse

from opensora.core.arguments import count, table_file, whole

HELP = "Take scenes from a table (path, start, end) instead of looking for cuts."
EXAMPLE = (
    "opensora import-scenes mine/scenes.csv --videos mine/shards/0000.csv --roots mine/videos"
    " --shard 0 --num-shards 4 --output mine/scenes/0000.csv"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "table",
        help="path, start, end; seconds or h:mm:ss.sss, an empty one is that of the file",
    )
    parser.add_argument("--videos", required=True, help="table that ingest-videos made")
    parser.add_argument(
        "--roots",
        nargs="+",
        default=[],
        metavar="DIR",
        help="where relative paths of the table start, besides its own folder",
    )
    parser.add_argument("--shard", type=whole, help="number of the shard that --videos is")
    parser.add_argument("--num-shards", type=count, help="number of shards")
    parser.add_argument(
        "--output", type=table_file, required=True, help="table of scenes, .csv or .parquet"
    )
    parser.add_argument("--workers", type=count, default=1, help="videos looked at side by side")


def run(args: argparse.Namespace) -> str:
    """Import; returns the summary line."""
    from opensora.core.errors import ConfigError, TableError
    from opensora.core.text import counted
    from opensora.curation.scenes.import_scenes import import_scenes
    from opensora.tables.columns import NO_VIDEO, SCENES, VIDEOS
    from opensora.tables.io import read_table, write_table

    if (args.shard is None) != (args.num_shards is None):
        raise ConfigError("--shard and --num-shards belong together; give both or neither")
    videos = read_table(args.videos, VIDEOS)
    scenes = import_scenes(
        videos,
        args.table,
        roots=args.roots,
        shard=None if args.shard is None else (args.shard, args.num_shards),
        workers=args.workers,
    )
    lost = scenes[scenes["status"] == NO_VIDEO]
    films = scenes[scenes["kind"] != "image"]
    if args.shard is None and len(lost) and set(films["status"]) <= {NO_VIDEO, "no_scene"}:
        raise TableError(
            f"{args.table}: no row of it is of a video in {args.videos} (its first is of"
            f" {lost['path'].iloc[0]}); give --roots, the folders where its paths start"
        )
    write_table(scenes, args.output, SCENES)
    counts = scenes["status"].value_counts()
    words = "".join(f", {counts[name]} {name}" for name in sorted(counts.index.difference(["ok"])))
    first = f" (first: {lost['path'].iloc[0]})" if len(lost) else ""
    found = f"{counted(counts.get('ok', 0), 'scene')} in {counted(len(videos), 'video')}"
    return f"{found}{words}{first} -> {args.output}"
