"""`bench train --against`: two checkouts in turn, each in processes of its own."""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from opensora.bench.checkout import HERE, find_checkout, run_in
from opensora.bench.train import earlier
from opensora.bench.train.cases import CPU_CASES, GPU_CASES, Case, choose_cases
from opensora.config.load import parse_overrides

_EARLIER = str(earlier.__file__)  # run as a file: in a checkout that has no such module

Times = dict[str, list[float]]  # case -> ms of each turn


def take_turns(args: argparse.Namespace, names: Sequence[str]) -> tuple[Times, Times]:
    """Time cases here and in `args.against`, `args.turns` times one after the other.

    A checkout without this command, such as fb84f53, is timed by `earlier.py`; it has no cases in
    the reference's style.

    Raises:
        ConfigError: the folder holds no checkout.
        OpenSoraError: a process failed.
    """
    there = find_checkout(args.against)
    mine: Times = {}
    theirs: Times = {}
    for _ in range(args.turns):
        for folder, times in ((HERE, mine), (there, theirs)):
            for case, ms in _one_turn(folder, args, names).items():
                times.setdefault(case, []).append(ms)
    return mine, theirs


def _one_turn(folder: Path, args: argparse.Namespace, names: Sequence[str]) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "figures.json"
        if (folder / "opensora/cli/bench/train.py").is_file():
            run_in(folder, [*_words(args, names), "--json", str(file)])
            rows = json.loads(file.read_text())["rows"]
            return {row["case"]: float(row["ms"]) for row in rows}
        spec = [_spec(case, args) for case in _cases(args, names) if not case.reference]
        run_in(folder, [_EARLIER, json.dumps(spec), str(file)], program=[])
        times: dict[str, float] = json.loads(file.read_text())
        return times


def _words(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    words = ["bench", "train", "--cases", ",".join(names)]
    words += ["--steps", str(args.steps), "--repeats", str(args.repeats)]
    words += ["--cpu"] * args.cpu + ["--no-compile"] * args.no_compile
    return words + (["--cfg-options", *args.cfg_options] if args.cfg_options else [])


def _cases(args: argparse.Namespace, names: Sequence[str]) -> list[Case]:
    known = {case.name for case in GPU_CASES}
    cases = GPU_CASES if not args.cpu and set(names) <= known else CPU_CASES
    return choose_cases(",".join(names), cases)


def _spec(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    words = args.cfg_options
    fields = dict(parse_overrides(["--cfg-options", *words]) if words else [])
    numbers = {"steps": args.steps, "repeats": args.repeats, "cpu": args.cpu}
    return {**asdict(case), **numbers, "model": {**case.model, **fields}}
