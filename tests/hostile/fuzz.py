"""`make fuzz SECONDS=600 SEED=0`: hostile inputs by the thousand; exit code 1 if one escapes.

Every input is a small valid one with a few changes, examined in a worker process with limits of
time and memory. It is accepted, or refused with an error of opensora's own or a reason for its row;
anything else escapes: another exception, the end of the process, no answer in time.

`--again KIND:NUMBER` examines one input of the same seed in this process and keeps it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from opensora.core.terminal import align
from opensora.curation.isolation import WorkerFailure, run_isolated

from .fuzz_inputs import write_seeds
from .fuzz_targets import (
    ACCEPTED,
    ESCAPE,
    KINDS,
    NEEDS_GUARD,
    REFUSED,
    Finding,
    Input,
    examine,
    judge,
    make,
)

LIMIT_S = 60.0  # an input; the slowest take one second on an idle machine
_ROUND = 100  # inputs of each kind that go to a set of workers
_SHOWN = 30  # escapes that are told
Counts = dict[str, Counter[Finding]]


def fuzz(
    folder: Path, seed: int, workers: int, goes_on: Callable[[int], bool]
) -> Iterator[tuple[Input, Finding]]:
    """Examine inputs of all kinds in turn, a round at a time, as long as `goes_on(examined)`."""
    examined = first = 0
    while goes_on(examined):
        size = _ROUND
        round_of_all = [
            Input(str(folder), kind, number, seed)
            for number in range(first, first + size)
            for kind in KINDS
        ]
        results = run_isolated(
            examine, round_of_all, workers=workers, timeout_s=lambda given: LIMIT_S
        )
        for index, result in results:
            lost = isinstance(result, WorkerFailure)
            found = Finding(ESCAPE, f"{result.reason}: {result.detail}") if lost else result
            examined += 1
            yield round_of_all[index], found
            if not goes_on(examined):
                results.close()
                break
        first += size


def table_of(counts: Counts) -> str:
    """The counts of all kinds, and the reasons of each."""
    titles = ("kind", "inputs", ACCEPTED, REFUSED, NEEDS_GUARD, "escapes")
    rows = []
    for kind, found in counts.items():
        by_what = Counter[str]()
        for finding, number in found.items():
            by_what[finding.what] += number
        numbers = [by_what[what] for what in (ACCEPTED, REFUSED, NEEDS_GUARD, ESCAPE)]
        rows.append((kind, sum(numbers), *numbers))
    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    text = align(titles, [[str(cell) for cell in row] for row in rows])
    for kind, found in counts.items():
        reasons = [(n, finding.why) for finding, n in found.items() if finding.what == REFUSED]
        words = ", ".join(f"{why} {n}" for n, why in sorted(reasons, reverse=True))
        text += f"\n{kind} refused: {words}"
    return text + "\n"


def run(seconds: float, seed: int, workers: int) -> int:
    """Fuzz for so long; the exit code."""
    counts: Counts = {kind: Counter() for kind in KINDS}
    told: set[tuple[str, str]] = set()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        write_seeds(Path(name))
        for given, found in fuzz(Path(name), seed, workers, lambda n: time.monotonic() < end):
            counts[given.kind][found] += 1
            is_told = found.what not in (ESCAPE, NEEDS_GUARD) or (given.kind, found.why) in told
            if not is_told and len(told) < _SHOWN:
                told.add((given.kind, found.why))
                sys.stdout.write(f"{found.what} {given.kind}:{given.number} {found.why}\n")
                sys.stdout.flush()
    total = sum(sum(found.values()) for found in counts.values())
    sys.stdout.write(f"seed {seed}, {seconds:.0f} s, {total:,} inputs\n{table_of(counts)}")
    return int(any(finding.what == ESCAPE for found in counts.values() for finding in found))


def again(name: str, seed: int) -> int:
    """Examine one input once more; what escapes has its traceback here."""
    kind, _, number = name.partition(":")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        write_seeds(Path(folder))
        kept = Path(tempfile.mkdtemp(prefix=f"fuzz-{kind}-{number}-"))
        path = make(Input(folder, kind, int(number), seed), kept)
    sys.stdout.write(f"{path}\n")
    found = judge(kind, path)
    sys.stdout.write(f"{found.what}: {found.why}\n")
    return int(found.what == ESCAPE)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", metavar="KIND:NUMBER")
    args = parser.parse_args()
    if args.again:
        return again(args.again, args.seed)
    return run(args.seconds, args.seed, args.workers)


if __name__ == "__main__":
    sys.exit(main())
