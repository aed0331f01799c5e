"""`opensora init`."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Look at what is in a folder (videos, clips, captions beside them or in tables) and write a"
    " workflow config that fits it, with a forecast of jobs, time and disk. Names are read once,"
    " and up to 200 files are looked into. Run this in the folder of the workflow."
)
EXAMPLE = "opensora init mine/videos --output mine/pets.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", help="folder with videos, clips or archives of clips")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the config; prompts go beside it (default: mine/FOLDER.yaml)",
    )
    parser.add_argument("--force", action="store_true", help="write over a config that is there")
    parser.add_argument(
        "--workers", type=count, default=2, help="processes that look into files (default: 2)"
    )


def run(args: argparse.Namespace) -> str:
    """Look, write, forecast; returns the summary line."""
    import os
    import re
    import shlex
    from pathlib import Path

    from opensora.core.errors import ConfigError
    from opensora.core.io import write_text
    from opensora.core.log import say
    from opensora.core.terminal import facts
    from opensora.curation.survey.account import account, size
    from opensora.curation.survey.costs import clip_bytes, footage_seconds
    from opensora.curation.survey.look import look
    from opensora.curation.survey.proposal import propose
    from opensora.curation.survey.walk import walk
    from opensora.curation.survey.words import find_words
    from opensora.dag.dry_run import dry_run, with_shards
    from opensora.dag.explain import count, duration
    from opensora.dag.forecast import forecast_s

    folder = Path(args.folder)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.resolve().name).strip("_.-") or "mine"
    output = Path(args.output or f"mine/{name}.yaml")
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--output {output}: a workflow config is a .yaml file; name one")
    if output.exists() and not args.force:
        raise ConfigError(f"{output}: is there already; name another --output, or give --force")
    if not Path("Snakefile").is_file():
        raise ConfigError("no Snakefile here; run this in the folder of the workflow")
    run_name = re.sub(r"[^A-Za-z0-9_.-]+", "_", output.stem).strip("_.-") or name
    prompts = output.with_suffix(".prompts.txt")
    found = walk(folder)
    sample = look(found.media, workers=args.workers)
    words = find_words(folder, found)
    proposal = propose(folder, found, sample, words, name=run_name, config=output, prompts=prompts)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(prompts, "\n".join(words.prompts) + "\n")
    write_text(output, proposal.text)
    say(facts(account(found, sample, words, proposal)))
    # two shards tell what all do: of hundreds the dry run would take most of the time
    jobs = with_shards(dry_run(output, target="report", num_shards=2), proposal.shards)
    seconds = forecast_s(
        jobs,
        footage_seconds(sample, proposal),
        clips=proposal.clips,
        cores=os.cpu_count() or 1,
    )
    clips = f", about {proposal.clips:,} clips" if proposal.clips else ""
    disk = clip_bytes(sample, words, proposal)
    written = f", {size(disk)} of clips" if disk else ""
    return (
        f"{count(len(jobs), 'job')}{clips}, about {duration(seconds)} on this machine{written}"
        f" -> {output}; next:"
        f" snakemake --profile profiles/local report --configfile {shlex.quote(str(output))}"
    )
