"""`opensora bench SUBJECT`: measure one part on this machine."""

import argparse
import importlib

HELP = "Measure speed and memory of one part on this machine."
EXAMPLE = "opensora bench model --type STDiT-XL/2"

# subject -> module `opensora.cli.bench.<subject>` with HELP, add_arguments and run
SUBJECTS = (
    *("model", "train", "sample", "kernels", "buckets", "loader", "online", "curation", "dag"),
    *("open", "report", "export"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one sub-command per subject."""
    subjects = parser.add_subparsers(
        dest="subject", required=True, metavar="SUBJECT", help="what is measured"
    )
    for name in SUBJECTS:
        module = importlib.import_module(f"opensora.cli.bench.{name}")
        module.add_arguments(subjects.add_parser(name, help=module.HELP, description=module.HELP))


def run(args: argparse.Namespace) -> str:
    """Run the subject's benchmark; it writes its own table and returns the summary line."""
    summary: str = importlib.import_module(f"opensora.cli.bench.{args.subject}").run(args)
    return summary
