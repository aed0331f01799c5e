"""Run the tests as other machines would: `make matrix`, or `python tests/matrix.py [CORNER ...]`.

Eight corners: limited or full instructions, one or two threads, imageio-ffmpeg's ffmpeg or the
system's. Two opposite corners run every test, the others those whose result depends on arithmetic
(marker `numeric`). Limited instructions come near a processor with AVX2 only. A corner that this
machine can not stand in for is skipped with a sentence. The table at the end is Markdown.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import imageio_ffmpeg

REPOSITORY = Path(__file__).parents[1]
# of torch's kernels, of oneDNN (two spellings), MKL, NumPy and OpenCV; onnxruntime knows no limit
LIMITED = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Corner:
    """One kind of machine.

    Attributes:
        limited: no instructions beyond AVX2.
        threads: of torch and the libraries below it.
        system_ffmpeg: the first ffmpeg on PATH, else the one that imageio-ffmpeg brings.
    """

    limited: bool
    threads: int
    system_ffmpeg: bool

    @property
    def name(self) -> str:
        """As `limited-1-imageio`."""
        instructions = "limited" if self.limited else "full"
        return f"{instructions}-{self.threads}-{'system' if self.system_ffmpeg else 'imageio'}"

    @property
    def is_whole(self) -> bool:
        """Whether every test runs: at the two corners that differ in everything."""
        return self in (Corner(True, 1, False), Corner(False, 2, True))

    def environment(self, links: Path) -> dict[str, str]:
        """Variables of the tests.

        Args:
            links: folder with a link `ffmpeg` to the one of imageio-ffmpeg.
        """
        limits = LIMITED if self.limited else {}
        path = os.environ["PATH"]
        return {
            **{name: value for name, value in os.environ.items() if name not in LIMITED},
            **limits,
            **dict.fromkeys(THREADS, str(self.threads)),
            "PATH": path if self.system_ffmpeg else f"{links}{os.pathsep}{path}",
        }

    def obstacle(self) -> str | None:
        """Why this machine can not stand in for the corner, or None."""
        if self.system_ffmpeg and shutil.which("ffmpeg") is None:
            return "there is no ffmpeg on PATH"
        if not self.limited and not has_avx512():
            return "without AVX-512 full instructions are the limited ones"
        return None


CORNERS = [Corner(*choice) for choice in product((True, False), (1, 2), (False, True))]


@dataclass(frozen=True)
class Outcome:
    """What one run gave."""

    passed: int
    skipped: int
    failed: list[str]
    seconds: float
    code: int

    def __str__(self) -> str:
        words = f"{self.passed} passed, {self.skipped} skipped"
        if self.failed:
            words += f", **{len(self.failed)} failed**"
        elif self.code:
            words += f", **pytest ended with {self.code}**"
        return words


def has_avx512() -> bool:
    """Whether torch uses AVX-512 on this machine where nothing limits it."""
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    environment = {name: value for name, value in os.environ.items() if name not in LIMITED}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip() == "AVX512"


def run_corner(corner: Corner, options: list[str]) -> Outcome:
    """Run pytest in a corner; its output goes to the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        links, report = Path(folder) / "bin", Path(folder) / "report.xml"
        links.mkdir()
        (links / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *options]
        if not corner.is_whole:
            command += ["-m", "numeric"]
        environment = corner.environment(links)
        code = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
        return read_report(report, code)


def read_report(path: Path, code: int) -> Outcome:
    """Count the tests of pytest's XML report; there is none where pytest could not begin."""
    if not path.is_file():
        return Outcome(0, 0, [], 0.0, code or 1)
    suite = next(ElementTree.parse(path).iter("testsuite"))
    cases = list(suite.iter("testcase"))
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - len(failed) - skipped
    return Outcome(passed, skipped, failed, float(suite.get("time", 0)), code)


def main(words: list[str]) -> int:
    """Run the corners and write the table; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    names = {corner.name: corner for corner in CORNERS}
    parser.add_argument(
        "corners", nargs="*", metavar="CORNER", help=f"default: all of {', '.join(names)}"
    )
    parser.add_argument(
        "--pytest", nargs=argparse.REMAINDER, default=[], help="everything behind it goes to pytest"
    )
    args = parser.parse_args(words)
    unknown = set(args.corners) - set(names)
    if unknown:
        parser.error(f"no corner {', '.join(sorted(unknown))}; known: {', '.join(names)}")

    table = ["| instructions | threads | ffmpeg | tests | result | minutes |", "|" + "---|" * 6]
    failures: list[str] = []
    bad = False
    for name in args.corners or names:
        corner = names[name]
        obstacle = corner.obstacle()
        sys.stdout.write(f"\n{name}: {f'skipped, {obstacle}' if obstacle else 'begins'}\n")
        sys.stdout.flush()  # before pytest writes
        outcome = None if obstacle else run_corner(corner, args.pytest)
        kind, which = name.split("-")[0], "all" if corner.is_whole else "numeric"
        ffmpeg = "the system's" if corner.system_ffmpeg else "imageio-ffmpeg's"
        minutes = f"{outcome.seconds / 60:.1f}" if outcome else ""
        result = str(outcome) if outcome else f"skipped: {obstacle}"
        table.append(f"| {kind} | {corner.threads} | {ffmpeg} | {which} | {result} | {minutes} |")
        if outcome is not None:
            failures += [f"{name}: {test}" for test in outcome.failed]
            bad = bad or outcome.code != 0
    sys.stdout.write("\n".join(["", *table, "", *failures]) + "\n")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
