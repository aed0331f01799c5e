"""What SLURM says of itself: partitions, their nodes, its settings, who may submit."""

import getpass
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from opensora.core.errors import ConfigError

_WAIT_S = 60.0
# partition (the default with a star), nodes, CPUs, MB, GPUs, time limit, preemption, up or down
_NODES = "%P|%D|%c|%m|%G|%l|%M|%a"
_GPUS = re.compile(r"\bgpu(?::[^:,()]+)?:(\d+)")
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_LIFTS = "PartitionTimeLimit"  # flag of a QOS whose jobs need not keep to a partition's
_NONE = ("", "(null)", "none", "n/a")
_AWAY = "unable to contact slurm controller"


class ControllerAwayError(ConfigError):
    """The cluster is known, but its controller does not answer."""


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike.

    Attributes:
        count: how many.
        cpus: of each.
        mem_mb: of each.
        gpus: of each.
    """

    count: int
    cpus: int
    mem_mb: int
    gpus: int


@dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        name: of it.
        runtime: the longest job, minutes; infinite where there is no limit.
        preempt_mode: what happens to jobs that others push aside, as REQUEUE; OFF for nothing.
        is_default: whether jobs that name none go there.
        is_up: whether its jobs start.
        nodes: those that it has.
    """

    name: str
    runtime: float
    preempt_mode: str
    is_default: bool
    is_up: bool
    nodes: tuple[Nodes, ...]


@dataclass(frozen=True)
class Slurm:
    """A cluster.

    Attributes:
        partitions: by name, those that this user sees.
        settings: of `scontrol show config`.
    """

    partitions: Mapping[str, Partition]
    settings: Mapping[str, str]

    @property
    def has_accounting(self) -> bool:
        """Whether `sacct` knows jobs that have ended."""
        return "slurmdbd" in self.settings.get("AccountingStorageType", "")

    @property
    def needs_account(self) -> bool:
        """Whether a job without an account that is registered is refused."""
        return "associations" in self.settings.get("AccountingStorageEnforce", "").lower()

    @property
    def default(self) -> str:
        """The partition of jobs that name none; "" where there is none."""
        return next((name for name, part in self.partitions.items() if part.is_default), "")

    @property
    def min_job_age(self) -> int:
        """Seconds that SLURM remembers a job which has ended."""
        found = re.match(r"\d+", self.settings.get("MinJobAge", "300"))
        return int(found[0]) if found else 300

    @property
    def requeues(self) -> bool:
        """Whether SLURM starts a job again whose node went down, unless the job says otherwise."""
        return self.settings.get("JobRequeue", "1").startswith("1")


def look() -> Slurm:
    """Ask SLURM.

    Raises:
        ControllerAwayError: its controller does not answer.
        ConfigError: there is none here, or it does not answer.
    """
    partitions = _partitions(ask("sinfo", "--noheader", "--exact", f"--format={_NODES}"))
    return Slurm(partitions, _settings(ask("scontrol", "show", "config")))


def ask(*words: str) -> str:
    """What a command of SLURM answers.

    Raises:
        ControllerAwayError: the controller does not answer.
        ConfigError: it is not here, fails, or says nothing for a minute.
    """
    if shutil.which(words[0]) is None:
        raise ConfigError(
            f"no SLURM here: the command {words[0]} is not found; run this on a login node of the"
            " cluster"
        )
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_WAIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"SLURM does not answer: {words[0]} said nothing for {_WAIT_S:.0f} s; try again, or ask"
            " those who run the cluster"
        ) from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        if _AWAY in lines[0].lower():
            raise ControllerAwayError(
                "SLURM's controller does not answer; give the same command again once"
                " `scontrol ping` says that it is up"
            )
        raise ConfigError(
            f"SLURM does not answer: {' '.join(words[:2])}: {lines[0].strip()}; run this on a login"
            " node of the cluster"
        )
    return done.stdout


def accounts() -> tuple[list[str], str]:
    """Accounts of this user, and the one that holds where a job names none ("" for none).

    Raises:
        ConfigError: SLURM does not answer.
    """
    user = getpass.getuser()
    words = ("sacctmgr", "--noheader", "--parsable2", "show")
    found = ask(*words, "associations", f"user={user}", "format=account").split()
    usual = ask(*words, "user", user, "format=defaultaccount").strip()
    return sorted(set(found)), "" if usual.lower() in _NONE else usual


def under_qos(slurm: Slurm, qos: object) -> Slurm:
    """The cluster as jobs of a quality of service see it, which may lift partitions' time limits.

    Where nobody tells what it lifts there is no limit to compare with; SLURM itself has one.

    Args:
        slurm: the cluster.
        qos: that the profile names; nothing leaves all as it is.
    """
    if not qos:
        return slurm
    words = ("sacctmgr", "--noheader", "--parsable2", "show", "qos", f"name={qos}")
    try:
        flags, _, wall = ask(*words, "format=flags,maxwall").strip().partition("|")
    except ConfigError:
        flags, wall = _LIFTS, ""
    if _LIFTS.lower() not in flags.lower().split(","):
        return slurm
    longest = minutes(wall)  # infinite where it says none
    parts = {
        name: replace(part, runtime=max(part.runtime, longest))
        for name, part in slurm.partitions.items()
    }
    return replace(slurm, partitions=parts)


def minutes(text: str) -> float:
    """A time of SLURM in minutes: 2-00:00:00, 12:00:00, 30:00, 45; infinite for infinite."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return inf
    days, first, second, third = match.groups()
    parts = [float(part) for part in (first, second, third) if part is not None]
    if days is not None or len(parts) == 3:  # hours first
        hours, mins, seconds = [*parts, 0.0, 0.0][:3]
    else:
        hours, mins, seconds = 0.0, parts[0], [*parts, 0.0][1]
    return 1440 * float(days or 0) + 60 * hours + mins + seconds / 60


def _partitions(text: str) -> dict[str, Partition]:
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != _NODES.count("|") + 1:
            continue
        name, count, cpus, mem, gres, limit, preempt, state = cells
        plain = name.removesuffix("*")
        nodes = Nodes(_whole(count), _whole(cpus), _whole(mem), sum(map(int, _GPUS.findall(gres))))
        before = found[plain].nodes if plain in found else ()
        found[plain] = Partition(
            plain, minutes(limit), preempt.upper(), name != plain, state == "up", (*before, nodes)
        )
    return found


def _whole(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _settings(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
