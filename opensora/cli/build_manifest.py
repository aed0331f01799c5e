"""`opensora build-manifest`."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opensora.core.arguments import count, fraction, table_file, whole
from opensora.core.text import counted

if TYPE_CHECKING:
    from opensora.curation.manifest.build_manifest import StageTables

HELP = "Join all stages, filter, clean captions and split; accounts for every row and second."
EXAMPLE = (
    "opensora build-manifest --videos mine/videos.csv --scenes mine/scenes/*.csv"
    " --clips mine/clips/*.csv --captions mine/captions/*.csv"
    " --scores flow=mine/scores/flow/0000.csv"
    ' --filters \'{"flow": {"min": 2.4}}\' --manifest mine/manifest.csv'
    " --rejected mine/rejected.csv --funnel mine/funnel.json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    for stage in ("videos", "scenes", "clips", "captions"):
        parser.add_argument(
            f"--{stage}", default=[], nargs="+", metavar="TABLE", help=f"{stage} of all shards"
        )
    parser.add_argument(
        "--scores", nargs="+", default=[], metavar="NAME=TABLE", help="scores of all shards"
    )
    parser.add_argument(
        "--index", metavar="FILE", help="what index-tables wrote of these tables; refuses others"
    )
    parser.add_argument(
        "--num-shards",
        type=count,
        metavar="N",
        help="a table named {shard}.parquet stands for those of 0000 to N - 1",
    )
    parser.add_argument(
        "--imported",
        default=[],
        nargs="+",
        metavar="DIR",
        help="ready clips of a source: manifest/, rejected.csv and funnel.json as import-manifest"
        " --source-name NAME --manifest DIR/manifest writes them",
    )
    parser.add_argument(
        "--sources",
        default="{}",
        metavar="JSON",
        help="sources with filters, keep_if or validation_fraction of their own, in place of these,"
        ' as \'{"web": {"filters": {"flow": {"min": 5}}}}\'',
    )
    _add_selection(parser)
    parser.add_argument(
        "--corrections", metavar="FILE", help="what browse wrote: captions, clips to leave out"
    )
    parser.add_argument(
        "--manifest",
        required=True,
        help="usable clips: a .csv or .parquet file, or a folder of a partition for each --clips",
    )
    parser.add_argument(
        "--csv", type=table_file, metavar="FILE", help="the manifest as one table for people"
    )
    parser.add_argument(
        "--csv-when",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto leaves it out above a million rows; where it is left out, an older one goes"
        " (default: auto)",
    )
    parser.add_argument(
        "--rejected", type=table_file, required=True, help="table of all other rows, with reasons"
    )
    parser.add_argument("--funnel", required=True, help="JSON: rows and seconds of every stage")
    parser.add_argument("--data-card", help="Markdown: size, licences, rules and scores")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    """Declare which clips are usable, and who sees them."""
    parser.add_argument("--filters", default="{}", help='JSON: {"column": {"min": 0, "max": 1}}')
    parser.add_argument(
        "--keep-if", nargs="+", default=[], metavar="EXPR", help='as "flow > 12 or aes >= 5"'
    )
    parser.add_argument("--licences", nargs="+", metavar="NAME", help="allowed licences")
    parser.add_argument(
        "--max-distance",
        type=whole,
        metavar="BITS",
        help="drop near-duplicates; needs scorer phash",
    )
    parser.add_argument("--max-clips-per-source", type=count, metavar="N", help="keep the best N")
    parser.add_argument(
        "--prefer", metavar="COLUMN", help="score that decides among duplicates and under the cap"
    )
    parser.add_argument(
        "--validation-fraction",
        type=fraction,
        default=0.1,
        help="share of source videos kept apart",
    )
    parser.add_argument(
        "--test-fraction",
        type=fraction,
        default=0.0,
        help="share of source videos for the test set",
    )


def run(args: argparse.Namespace) -> str:
    """Build; returns the summary line."""
    from pathlib import Path

    from opensora.core.io import write_json, write_text
    from opensora.core.seal import sealed
    from opensora.curation.manifest.build_manifest import build_manifest
    from opensora.curation.manifest.data_card import data_card
    from opensora.curation.manifest.of_sources import read_ready
    from opensora.curation.manifest.selection import Selection
    from opensora.tables.columns import MANIFEST, REJECTED
    from opensora.tables.corrections import read_corrections
    from opensora.tables.io import write_table
    from opensora.tables.manifest import write_manifest_csv
    from opensora.tables.partitions import check_part_names, shard_names, write_parts

    paths = _paths(args)
    stems = [Path(path).stem for path in paths["clips"]]
    ready = [read_ready(folder) for folder in args.imported]
    names = [*stems, *shard_names(len(stems) + sum(one.num_shards for one in ready))[len(stems) :]]
    check_part_names(args.manifest, names)
    sources, shards = _read_stages(paths)
    selection = Selection(
        filters=_parse_object(args.filters, "--filters"),
        keep_if=args.keep_if,
        licences=args.licences,
        max_distance=args.max_distance,
        max_clips_per_source=args.max_clips_per_source,
        prefer=args.prefer,
        of_sources=_parse_sources(args.sources),
    )
    built = build_manifest(
        sources,
        selection,
        validation_fraction=args.validation_fraction,
        test_fraction=args.test_fraction,
        ready=ready,
        corrections=read_corrections(args.corrections) if args.corrections else None,
    )
    write_table(built.rejected, args.rejected, REJECTED)
    write_json(args.funnel, sealed(built.funnel))
    if args.data_card:
        scores = sources.scores.values() if sources else ()
        versions = {name for table in scores for name in set(table["scorer"])}
        write_text(args.data_card, data_card(built.manifest, built.funnel, selection, versions))
    if args.csv:
        write_manifest_csv(built.manifest, args.csv, args.csv_when)
    first = len(stems)
    for one in ready:
        numbers = zip(one.clips["id"], one.clips["shard"], strict=True)
        shards |= {clip: names[first + number] for clip, number in numbers}
        first += one.num_shards
    parts = built.manifest["id"].map(shards)
    write_parts(built.manifest, args.manifest, MANIFEST, parts, names, index=True)
    kept = built.funnel["kept"]
    return (
        f"{counted(kept['rows'], 'clip')} ({kept['seconds']:.1f} s) from"
        f" {counted(kept['sources'], 'source')} kept,"
        f" {counted(len(built.rejected), 'row')} rejected -> {args.manifest}"
    )


def _read_stages(paths: dict[str, list[str]]) -> tuple["StageTables | None", dict[str, str]]:
    """The tables of all stages, and the partition of each clip; None where all clips are ready."""
    from pathlib import Path

    from opensora.curation.manifest.build_manifest import StageTables, concat
    from opensora.tables.columns import CAPTIONS, CLIPS, SCENES, SCORES, VIDEOS
    from opensora.tables.io import read_table

    if not paths["clips"]:
        return None, {}
    clips = {Path(path).stem: read_table(path, CLIPS) for path in paths["clips"]}
    sources = StageTables(
        videos=concat([read_table(path, VIDEOS) for path in paths["videos"]]),
        scenes=concat([read_table(path, SCENES) for path in paths["scenes"]]),
        clips=concat(list(clips.values())),
        captions=concat([read_table(path, CAPTIONS) for path in paths["captions"]]),
        scores={
            name: concat([read_table(path, SCORES) for path in tables])
            for name, tables in _group_scores(paths["scores"]).items()
        },
    )
    return sources, {clip: stem for stem, table in clips.items() for clip in table["id"]}


def _paths(args: argparse.Namespace) -> dict[str, list[str]]:
    """The tables to read, by kind; those of scores with their names before them."""
    from opensora.core.errors import ConfigError
    from opensora.tables.part_index import check_index
    from opensora.tables.partitions import tables_of_shards

    stages = ("videos", "scenes", "clips", "captions")
    lacking = [f"--{name}" for name in stages if not getattr(args, name)]
    if lacking and (len(lacking) < len(stages) or args.scores or not args.imported):
        raise ConfigError(
            f"{', '.join(lacking)}: needed to build a manifest of videos; give the tables of all"
            " shards, or --imported alone"
        )
    paths = {
        name: tables_of_shards(getattr(args, name), args.num_shards, f"--{name}")
        for name in (*stages, "scores")
    }
    if args.index:
        tables = [path for name in paths if name != "scores" for path in paths[name]]
        tables += [path for some in _group_scores(paths["scores"]).values() for path in some]
        check_index(args.index, tables, "index_tables")
    return paths


def _group_scores(words: Sequence[str]) -> dict[str, list[str]]:
    from opensora.core.errors import ConfigError

    groups: dict[str, list[str]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not name or not path:
            raise ConfigError(f"--scores {word}: expected NAME=TABLE, e.g. flow=scores/flow.csv")
        groups.setdefault(name, []).append(path)
    return groups


def _parse_sources(text: str) -> dict[str, Any]:
    from opensora.core.errors import ConfigError, did_you_mean
    from opensora.curation.manifest.of_sources import SourceRules

    fields = ("filters", "keep_if", "validation_fraction")
    rules = {}
    for name, given in _parse_object(text, "--sources").items():
        if not isinstance(given, dict):
            raise ConfigError(f"--sources: {name}: expected an object of rules, got {given!r}")
        for field in given:
            if field not in fields:
                hint = did_you_mean(field, fields) or f"; known: {', '.join(fields)}"
                raise ConfigError(f"--sources: {name}: unknown field {field!r}{hint}")
        rules[name] = SourceRules(**given)
    return rules


def _parse_object(text: str, option: str) -> dict[str, Any]:
    import json

    from opensora.core.errors import ConfigError

    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option}: expected JSON, got {text!r} ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{option}: expected an object, got {text!r}")
    return found
