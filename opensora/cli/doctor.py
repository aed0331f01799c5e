"""`opensora doctor`: examine what runs name of the store, free what none names, forget a video."""

import argparse

from opensora.core.arguments import not_negative

HELP = (
    "Examine what indexes name: every checksum, NaN, mean and deviation, and with the encoders what"
    " a few clips and captions become when they are decoded or encoded again. Changes nothing."
    " --sweep lists what of the store no index of any run names, --forget all that runs and store"
    " hold of a video, --adopt which latents and embeddings of an older layout the store can take;"
    " with --yes it is done. --cluster, on a login node of SLURM: whether a run would get what it"
    " asks for, line by line with the mend."
)
_MODES = ("sweep", "forget", "adopt", "cluster")
EXAMPLE = (
    "opensora doctor --latents results/demo/latents/stage1 --embeddings results/demo/embeddings"
    " --manifest results/demo/manifest --vae results/demo/models/vae"
    " --text-encoder results/demo/models/text_encoder\n"
    "  opensora doctor --sweep results\n"
    "  opensora doctor --forget mine/videos/beach.mp4 --results results --yes\n"
    "  opensora doctor --cluster mine/run.yaml --submit"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--latents", nargs="+", default=[], metavar="DIR", help="folders of indexes, or an index"
    )
    parser.add_argument("--embeddings", metavar="DIR", help="folder of indexes, or an index")
    parser.add_argument("--manifest", metavar="FILE", help="clips, their paths and captions")
    parser.add_argument(
        "--vae", metavar="FOLDER", help="folder or hub name; decodes a few clips of each bucket"
    )
    parser.add_argument(
        "--text-encoder",
        metavar="FOLDER",
        help="folder or hub name; encodes a few captions again",
    )
    parser.add_argument(
        "--min-psnr",
        type=not_negative,
        default=15.0,
        metavar="DB",
        help="a bucket whose decoded latents are worse than this is bad (default: 15)",
    )
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")
    parser.add_argument(
        "--sweep",
        nargs="?",
        const="results",
        metavar="RESULTS",
        help="folder of runs and store (default: results): list what no index names",
    )
    parser.add_argument(
        "--forget", metavar="VIDEO", help="path as in the table ingest, id or sha256 of a video"
    )
    parser.add_argument(
        "--results",
        default="results",
        metavar="RESULTS",
        help="folder of runs and store, for --forget (default: results)",
    )
    parser.add_argument(
        "--adopt",
        metavar="RUN",
        help="folder of a run of an older layout; --vae and --text-encoder are the encoders that it"
        " used (default: those that it trained)",
    )
    parser.add_argument("--yes", action="store_true", help="do what is listed")
    _add_cluster(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    """Declare the options of --cluster."""
    parser.add_argument(
        "--cluster",
        metavar="CONFIG",
        help="workflow config (.yaml); run this on a login node, in the folder of the workflow",
    )
    parser.add_argument(
        "--profile",
        default="profiles/slurm",
        metavar="FOLDER",
        help="with --cluster: profile of the run (default: profiles/slurm)",
    )
    parser.add_argument(
        "--submit",
        action="store_true",
        help="with --cluster: let a job of a few seconds run in each partition that is used",
    )


def run(args: argparse.Namespace) -> str:
    """Examine, or what else is asked for; returns the summary."""
    from opensora.core.errors import ConfigError

    examined = bool(args.latents or args.embeddings)
    modes = [name for name in _MODES if getattr(args, name) is not None]
    if len(modes) + examined > 1:
        names = ", ".join(f"--{name}" for name in modes)
        raise ConfigError(f"{names}: give one of them, alone")
    if args.submit and args.cluster is None:
        raise ConfigError("--submit belongs to --cluster")
    if not modes:
        if args.yes:
            raise ConfigError("--yes belongs to --sweep, --forget or --adopt")
        return _examine(args)
    _refuse_unused(args, modes[0])
    if args.cluster is not None:
        return _cluster(args)
    done = {"sweep": _sweep, "forget": _forget, "adopt": _adopt}[modes[0]](args)
    return "\n  ".join(done)


def _refuse_unused(args: argparse.Namespace, mode: str) -> None:
    """Refuse options that have no effect."""
    from opensora.core.errors import ConfigError

    used = ("vae", "text_encoder") if mode == "adopt" else ()
    for name in ("manifest", "vae", "text_encoder"):
        if getattr(args, name) is not None and name not in used:
            word = name.replace("_", "-")
            raise ConfigError(f"--{word} has no effect with --{mode}; leave it out")
    if args.yes and mode == "cluster":
        raise ConfigError("--yes has no effect with --cluster; leave it out")


def _sweep(args: argparse.Namespace) -> list[str]:
    import time

    from opensora.stores.brought import find_unused
    from opensora.stores.runs import Results
    from opensora.stores.sweep import find_unnamed, free

    results = Results(args.sweep)
    found = [*find_unnamed(results), *find_unused(results)]
    lines = [part.sentence(time.time()) for part in found]
    if not args.yes:
        waiting = [f"with --yes it would be refused: {what}" for what in results.unfinished()]
        return [f"no index of a run in {args.sweep} names", *lines, *waiting, "--yes frees it"]
    free(results, found)
    return ["freed what no index names", *lines]


def _forget(args: argparse.Namespace) -> list[str]:
    from opensora.precompute.upkeep.forget import find_held, forget, last_words
    from opensora.stores.runs import Results

    results = Results(args.results)
    held = find_held(results, args.forget)
    lines = list(held.sentences(results))
    if not args.yes:
        return ["would take out", *lines, "--yes does it"]
    forget(results, held)
    return ["took out", *lines, last_words(held)]


def _adopt(args: argparse.Namespace) -> list[str]:
    from pathlib import Path

    from opensora.dag.layout import set_layout
    from opensora.precompute.adopt import adopt

    counts = adopt(
        Path(args.adopt),
        vae=args.vae,
        text_encoder=args.text_encoder,
        device=args.device,
        is_dry=not args.yes,
    )
    lines = [part.sentence() for part in counts]
    if not args.yes:
        return [f"of {args.adopt} the store would take", *lines, "--yes does it"]
    set_layout(args.adopt)
    return [f"of {args.adopt} the store took", *lines, "the next run goes on with what is there"]


def _examine(args: argparse.Namespace) -> str:
    from pathlib import Path

    from opensora.core.errors import ConfigError
    from opensora.models.device import choose_device
    from opensora.precompute.examine import examine_embeddings, examine_latents
    from opensora.tables.manifest import read_manifest

    if not args.latents and args.embeddings is None:
        raise ConfigError(
            "nothing to examine; give --latents DIR, --embeddings DIR or both; or --sweep, --forget"
            " or --adopt"
        )
    if args.vae is not None and args.manifest is None:
        raise ConfigError("--vae compares decoded clips with their files; give --manifest FILE too")
    if args.vae is not None and not args.latents:
        raise ConfigError("--vae decodes latents; give --latents DIR too")
    if args.text_encoder is not None and args.embeddings is None:
        raise ConfigError("--text-encoder encodes captions again; give --embeddings DIR too")
    if args.text_encoder is not None and args.manifest is None:
        raise ConfigError("--text-encoder needs to know the captions; give --manifest FILE too")
    device = choose_device(args.device)
    manifest = None if args.manifest is None else read_manifest(args.manifest)
    found = []
    if args.latents:
        roots = [Path(root) for root in args.latents]
        settings = {"min_psnr": args.min_psnr, "device": device}
        found.append(examine_latents(roots, vae=args.vae, manifest=manifest, **settings))
    if args.embeddings is not None:
        root, encoder = Path(args.embeddings), args.text_encoder
        found.append(
            examine_embeddings(root, text_encoder=encoder, manifest=manifest, device=device)
        )
    return "; ".join(found)


def _cluster(args: argparse.Namespace) -> str:
    """Print what was found, line by line; returns the summary.

    Raises:
        ConfigError: no SLURM here, or there is something to mend.
    """
    from opensora.core.errors import ConfigError
    from opensora.core.log import say
    from opensora.core.terminal import facts
    from opensora.dag.cluster.doctor import examine_slurm, submit_probe
    from opensora.dag.cluster.line import Line
    from opensora.dag.cluster.places import examine_disk, examine_places
    from opensora.dag.cluster.plan import read_profile, read_run
    from opensora.dag.cluster.slurm import look
    from opensora.precompute.loadable import examine_encoders
    from opensora.precompute.stored_bytes import stored_bytes

    config, profile, slurm = read_run(args.cluster), read_profile(args.profile), look()
    lines = [*examine_slurm(config, profile, slurm), *examine_places()]
    lines += [Line(*found) for found in examine_encoders(config["models"])]
    lines.append(examine_disk(config, stored_bytes(config)))
    if args.submit:
        lines += submit_probe(config, profile, slurm)
    say(facts((f"{line.mark:5}{line.topic}", line.text) for line in lines))
    bad = [line for line in lines if line.mark == "mend"]
    if bad:
        raise ConfigError(
            f"{len(bad)} of {len(lines)} lines are to be mended, marked `mend`; the first:"
            f" {bad[0].topic}: {bad[0].text}"
        )
    notes = sum(line.mark == "note" for line in lines)
    return f"{len(lines)} lines, nothing to mend{f', {notes} to judge' if notes else ''}"
