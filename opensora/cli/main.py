"""`opensora COMMAND`: parse, run one function, print one summary line, return an exit code."""

import argparse
import contextlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from opensora import __version__
from opensora.config.other_names import command_meant
from opensora.core.arguments import Parser, UsageError, count
from opensora.core.errors import (
    OpenSoraError,
    PassingError,
    Stopped,
    UnknownFieldError,
    did_you_mean,
)
from opensora.core.signals import EndSignals
from opensora.core.text import visible

# command -> one line for `opensora --help`, in the order of the pipeline
COMMANDS = {
    "init": "look at a folder of yours and write a workflow config that fits it",
    "check": "read a workflow config and all it names as the run will",
    "fetch": "bring videos of a list of addresses to this machine",
    "make-demo": "render the built-in demo world",
    "ingest-videos": "find, probe and hash videos and images",
    "detect-scenes": "find the cuts in each video",
    "import-scenes": "take scenes from a table",
    "split-clips": "cut scenes into clip files",
    "caption-clips": "give each clip its caption",
    "score-clips": "score clips: technical, flow, match",
    "index-tables": "write bytes and sha256 of the tables of all shards into one file",
    "build-manifest": "join, filter and split into one table",
    "import-manifest": "take ready clips: tables, folders, data sets of other trainers",
    "assign-buckets": "put clips into buckets and compile the batch plan",
    "plan": "forecast tokens, FLOPs, disk and GPU-hours of a stage",
    "search-batch-size": "find batch sizes that fit memory and balance the buckets",
    "train-vae": "train a small image VAE on clips",
    "train-clip": "train a small CLIP on clips and captions",
    "train-text-encoder": "train a small byte-level T5 encoder on captions",
    "encode-videos": "fill the latent store",
    "encode-captions": "fill the embedding store",
    "settle-plan": "take what could not be encoded out of a plan, account for every clip",
    "doctor": "examine a store, free what no run names, forget a video",
    "train": "train a diffusion transformer",
    "sample": "sample videos for prompts",
    "app": "try prompts in the browser",
    "evaluate": "measure samples",
    "browse": "look at clips, correct captions, mark clips out",
    "report": "write the HTML report of a run",
    "export": "write clips for other trainers, WebDataset, Hugging Face",
    "export-weights": "write trained weights as diffusers loads them",
    "convert-checkpoint": "rewrite a checkpoint as safetensors",
    "bench": "measure speed and memory of one part on this machine",
}

_BREAKS = "\n"  # some summaries are tables
EXIT_DONE, EXIT_DEFECT, EXIT_USER, EXIT_STOPPED = 0, 1, 2, 75
_GRACE_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 2 the user can mend it; 75 stopped with a checkpoint, run it again. 1 is a defect,
        which keeps its traceback, or a sentence about what another try may not meet.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(words)
    except OpenSoraError as error:  # of writing to standard output
        sys.stderr.write(f"opensora: {visible(str(error))}\n")
        return EXIT_USER


def _main(words: list[str]) -> int:
    from opensora.core.log import say

    if not words or words[0] in ("-h", "--help"):
        say(_overview())
        return EXIT_DONE if words else EXIT_USER
    if words[0] == "--version":
        say(f"opensora {__version__}\n")
        return EXIT_DONE
    name = words[0].replace("_", "-")
    if name not in COMMANDS:
        meant = command_meant(words[0], COMMANDS) or did_you_mean(name, COMMANDS, cutoff=0.6)
        text = f"no command {words[0]!r}{meant}; `opensora --help` lists them"
        sys.stderr.write(f"opensora: {visible(text)}\n")
        return EXIT_USER
    module = importlib.import_module(f"opensora.cli.{name.replace('-', '_')}")
    parser = Parser(
        prog=f"opensora {name}",
        description=module.HELP,
        epilog=f"example:\n  {module.EXAMPLE}",
    )
    module.add_arguments(parser)
    if getattr(module, "TAKES_THREADS", False):
        parser.add_argument(
            "--threads",
            type=count,
            metavar="N",
            help="threads to compute with (default: OMP_NUM_THREADS, or every core)",
        )
    parser.add_argument(
        "--log-file",
        metavar="FILE",
        help="add the log to this file, with the tracebacks of errors that cost a row",
    )
    parser.add_argument(
        "--job-log",
        metavar="LOG",
        help="of a workflow: where this output is appended to; an error that you must mend is kept"
        " beside it, and tries with nothing changed end at once",
    )
    try:
        known, overrides = parser.read(
            words[1:], takes_fields=getattr(module, "TAKES_OVERRIDES", False)
        )
    except UsageError as error:
        sys.stderr.write(f"{visible(str(error))}\n")
        return EXIT_USER
    known.overrides = overrides
    if not known.job_log:
        return _run(name, module, known, likely=parser.likely)
    return _try(name, module, known, words, likely=parser.likely)


def _try(
    name: str,
    module: object,
    arguments: argparse.Namespace,
    words: Sequence[str],
    *,
    likely: Callable[[str], str],
) -> int:
    """Run a command as a try of a workflow's job, which may have failed before."""
    from opensora.dag.mark import begin, leave

    if sentence := begin(arguments.job_log, [name, *words[1:]]):
        sys.stderr.write(f"opensora {name}: {sentence}\n")
        return EXIT_USER
    code = _run(name, module, arguments, likely=likely)
    if code == EXIT_USER:
        sys.stderr.flush()
        leave(arguments.job_log, [name, *words[1:]])
    return code


def _run(
    name: str, module: object, arguments: argparse.Namespace, *, likely: Callable[[str], str]
) -> int:
    from opensora.core.io import in_the_way, is_of_writing, not_written
    from opensora.core.log import say, setup_logging
    from opensora.core.process import default_threads, keep_freed_memory, use_threads

    try:
        setup_logging(arguments.log_file, tracebacks=bool(arguments.job_log))
        asked = getattr(arguments, "threads", None)
        use_threads(default_threads() if asked is None else asked)
        if getattr(module, "TAKES_THREADS", False):
            keep_freed_memory()
        summary = module.run(arguments)  # type: ignore[attr-defined]
    except Stopped as error:
        if str(error):  # else another process of the run has said it
            sys.stderr.write(f"opensora {name}: stopped: {visible(str(error))}\n")
        return EXIT_STOPPED
    except UnknownFieldError as error:
        word = f"--{error.field}".replace("_", "-")
        given = {part.partition("=")[0].replace("_", "-") for part in arguments.overrides}
        meant = likely(word) if word in given else ""
        message = f"unknown option {word}{meant}" if meant else str(error)
        sys.stderr.write(f"opensora {name}: {visible(message)}\n")
        return EXIT_USER
    except OpenSoraError as error:
        if message := str(error).removeprefix(f"{name}: "):  # the command is named once
            sys.stderr.write(f"opensora {name}: {visible(message)}\n")
        return EXIT_DEFECT if isinstance(error, PassingError) else EXIT_USER
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        is_known = is_of_writing(error) or isinstance(error, PermissionError)
        if not is_known and in_the_way(error) is None:
            raise
        sys.stderr.write(f"opensora {name}: {visible(str(not_written(error)))}\n")
        return EXIT_USER
    if summary:
        say(f"{name}: {visible(summary, keep=_BREAKS)}\n")
    return EXIT_DONE


def _overview() -> str:
    from opensora.core.terminal import facts

    rows = [(f"  {name}", text) for name, text in COMMANDS.items()]
    return (
        f"usage: opensora COMMAND [options]\n\n{facts(rows)}\n"
        "`opensora COMMAND --help` shows the options and an example.\n"
    )


def entry() -> None:
    """Console entry point."""
    with EndSignals() as signals:
        try:
            code = main()
        except BaseException as error:
            if isinstance(error, SystemExit):
                _flush()  # after --help
                raise
            # libraries wrap what comes while they are loaded; processes of the group die as well
            if not signals.received:
                raise
            by = "the keyboard" if signals.received == "SIGINT" else signals.received
            sys.stderr.write(
                f"opensora: stopped by {by}; nothing half-written is kept, and the same command"
                " begins anew or goes on\n"
            )
            code = EXIT_STOPPED
        signals.finish(code)
        if signals.received:
            _leave_threads(code)
    sys.exit(code)


def _flush() -> None:
    """Write what the buffer holds, whose reader may have left."""
    from opensora.core.log import say

    with contextlib.suppress(OpenSoraError):
        say("")


def _leave_threads(code: int) -> None:
    """End at once where threads go on for longer, as one that waits for a server does."""
    deadline = time.monotonic() + _GRACE_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                os._exit(code)


if __name__ == "__main__":
    entry()
