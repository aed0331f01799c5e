"""The smallest run of the workflow: started, listed command by command, and hashed."""

import hashlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
_LINE = re.compile(r"^Shell command: (?:trap [^;]*; )?opensora (.*?) --job-log .*$", re.MULTILINE)


def snakemake(folder: Path, *words: str) -> list[str]:
    """The command line of the smallest run in a folder."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *words),
        *("--profile", str(ROOT / "profiles/test"), "--directory", str(folder)),
        *("--cores", "2", "--configfile", str(ROOT / "configs/workflow/test.yaml")),
    ]


def start(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    """Start it in a process group of its own."""
    log = (folder / "said.txt").open("ab")
    command = snakemake(folder, *words)
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def commands(folder: Path) -> dict[str, list[str]]:
    """The words of the first job of each command, as the workflow calls it in an empty folder."""
    listing = subprocess.run(
        snakemake(folder, "all", "--dry-run", "--printshellcmds"),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str]] = {}
    for line in sorted(_LINE.findall(listing.stdout + listing.stderr)):
        words = shlex.split(line)
        found.setdefault(words[0], words)
    return found


def hashes(folder: Path, *patterns: str) -> dict[str, str]:
    """Hash of each file below a folder that patterns mean; all without one."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns or ("**/*",)
        for path in folder.glob(pattern)
        if path.is_file()
    }
