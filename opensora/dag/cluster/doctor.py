"""What a login node shows of a cluster, against what a profile and a run ask of it."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError
from opensora.core.terminal import short
from opensora.dag.cluster.fit import Asked, check_account, longest, misfit, partition_of
from opensora.dag.cluster.line import Line
from opensora.dag.cluster.partitions import read_partitions
from opensora.dag.cluster.plan import Profile, asked_by_run
from opensora.dag.cluster.slurm import Partition, Slurm, accounts, ask, under_qos

_LAST_CHECK_S = 180  # the plugin's longest wait between two status checks
_START_S = 180.0  # how long the job of --submit may wait
# imported where the job runs: the environment is there; and whether torch finds a GPU
_PROBE = (
    "import socket, sys, pathlib, opensora, torch;"
    " print(socket.gethostname(), pathlib.Path(sys.argv[1]).is_file(), torch.cuda.device_count())"
)


def examine_slurm(config: Mapping[str, Any], profile: Profile, slurm: Slurm) -> list[Line]:
    """Compare partitions, accounting and restarts with a profile and a run.

    Raises:
        ConfigError: a training config can not be read.
    """
    lines = [Line("ok", "partition", _describe(part)) for part in slurm.partitions.values()]
    if not lines:
        lines.append(Line("mend", "partition", "sinfo shows none that you may use; ask for access"))
    asked = asked_by_run(config, profile)
    slurm = under_qos(slurm, profile.settings.get("slurm-qos"))
    lines += [*_file(profile, slurm), *_jobs(asked, profile, slurm)]
    lines += [_accounting(profile, slurm), *_account(profile, slurm)]
    used = {partition_of(one, slurm, profile.partitions) for one in asked}
    lines += [*_restarts(profile, slurm, sorted(used)), _status(profile, slurm)]
    return lines


def submit_probe(config: Mapping[str, Any], profile: Profile, slurm: Slurm) -> list[Line]:
    """Let one short job run in each partition that the run uses, and see what it sees."""
    wanted: dict[str, int] = {}
    for one in asked_by_run(config, profile):
        name = partition_of(one, slurm, profile.partitions)
        wanted[name] = max(wanted.get(name, 0), min(one.gpus, 1))
    with tempfile.NamedTemporaryFile(dir=".", prefix=".doctor-", suffix=".txt") as token:
        place = str(Path(token.name).resolve())
        return [_probe(name, gpus, profile, place) for name, gpus in wanted.items()]


def _describe(part: Partition) -> str:
    kinds = [
        f"{nodes.count} x {nodes.cpus} CPUs, {nodes.mem_mb / 1000:g} GB"
        f"{f', {nodes.gpus} GPUs' if nodes.gpus else ''}"
        for nodes in part.nodes
    ]
    words = [part.name, *(["(default)"] if part.is_default else []), "; ".join(kinds)]
    return f"{' '.join(words)}; {longest(part)}{'' if part.is_up else '; down'}"


def _file(profile: Profile, slurm: Slurm) -> Iterator[Line]:
    """Names and limits in the file of partitions."""
    path, topic = profile.partitions, "partition file"
    if not path:
        return
    try:
        known = read_partitions(path)
    except ConfigError as error:
        yield Line("mend", topic, str(error))
        return
    missing = [part.name for part in known if part.name not in slurm.partitions]
    if missing and slurm.partitions:
        yield Line(
            "mend",
            topic,
            f"{path} names {', '.join(missing)}, and there are {', '.join(slurm.partitions)}; write"
            f" it anew: generate-slurm-partition-config -o {path}",
        )
        return
    loose = [
        part.name
        for part in known
        if part.name in slurm.partitions
        and part.limits.max_runtime > slurm.partitions[part.name].runtime
    ]
    if loose:
        limits = ", ".join(f"{name} {slurm.partitions[name].runtime:.0f}" for name in loose)
        yield Line("mend", topic, f"{path}: write max_runtime, minutes: {limits}")
    else:
        yield Line("ok", topic, f"{path}: {len(known)} partitions, all there")


def _jobs(asked: Sequence[Asked], profile: Profile, slurm: Slurm) -> Iterator[Line]:
    """Each rule that does not fit; else what they ask for at most."""
    bad = [why for one in asked if (why := misfit(one, slurm, profile.partitions))]
    yield from (Line("mend", "jobs", why) for why in bad)
    if not bad and asked:
        largest = max(asked, key=lambda one: (one.gpus * one.nodes, one.mem_mb))
        amount = short(largest.mem_mb * 1e6, "B")
        yield Line(
            "ok",
            "jobs",
            f"{len(asked)} kinds of jobs fit; {largest.name} asks for most: {largest.nodes} nodes"
            f" of {largest.gpus} GPUs, {largest.threads} CPUs, {amount}, {largest.runtime} min",
        )


def _accounting(profile: Profile, slurm: Slurm) -> Line:
    report = profile.settings.get("slurm-efficiency-report")
    asks_sacct = profile.settings.get("slurm-status-command", "sacct") == "sacct"
    if not slurm.has_accounting:
        if asks_sacct or report:
            name = "slurm-efficiency-report" if report else "slurm-status-command: sacct"
            return Line(
                "mend", "accounting", f"there is none, and {profile.path} has {name}; take it out"
            )
        return Line("ok", "accounting", "none; squeue says how jobs end, leave block 3 off")
    try:
        ask("sacct", "--noheader", "--allocations", "--format=jobid")
    except ConfigError as error:
        return Line("mend", "accounting", f"SLURM keeps accounts, and sacct fails: {error}")
    return Line("ok", "accounting", "sacct answers; block 3 of the profile may be on")


def _account(profile: Profile, slurm: Slurm) -> Iterator[Line]:
    given = str(profile.defaults.get("slurm_account") or "")
    try:
        why = check_account(given, slurm, accounts)
    except ConfigError as error:
        why = str(error)
    if why:
        yield Line("mend", "account", why)
    elif slurm.needs_account or given:
        yield Line("ok", "account", given or "your default one")


def _restarts(profile: Profile, slurm: Slurm, used: Sequence[str]) -> Iterator[Line]:
    """Which of the two blocks for a node that goes down fits, and whether it is on."""
    parts = [slurm.partitions[name] for name in used if name in slurm.partitions]
    pushed = [part.name for part in parts if part.preempt_mode == "REQUEUE"]
    ended = [part.name for part in parts if part.preempt_mode == "CANCEL"]
    is_on = bool(profile.settings.get("slurm-requeue"))
    seen = f"JobRequeue={int(slurm.requeues)}, PreemptMode {slurm.settings.get('PreemptMode', '?')}"
    if pushed and not is_on:
        yield Line(
            "mend",
            "restarts",
            f"{seen}; jobs of {', '.join(pushed)} can be pushed aside and are started again by"
            " SLURM: set slurm-requeue: true in block 2 of the profile, in place of no-requeue",
        )
    elif not pushed and is_on:
        yield Line(
            "mend",
            "restarts",
            f"{seen}; no partition of the run is preemptible: set slurm-no-requeue: true in block 2"
            " of the profile, in place of slurm-requeue",
        )
    elif not is_on and slurm.requeues and not profile.settings.get("slurm-no-requeue"):
        yield Line(
            "mend",
            "restarts",
            f"{seen}; SLURM and this workflow would both start a job again whose node went down:"
            " set slurm-no-requeue: true in block 2 of the profile",
        )
    else:
        yield Line("ok", "restarts", f"{seen}; block 2 of the profile fits")
    if ended:
        yield Line("note", "restarts", f"jobs of {', '.join(ended)} can be ended; they are retried")


def _status(profile: Profile, slurm: Slurm) -> Line:
    age, first = slurm.min_job_age, profile.first_check
    if profile.settings.get("slurm-status-command", "sacct") != "squeue":
        return Line("ok", "status", "asked of sacct")
    text = f"MinJobAge is {age} s, the first check after {first} s and later ones up to"
    text = f"{text} {_LAST_CHECK_S} s apart"
    if age >= max(3 * first, _LAST_CHECK_S):
        return Line("ok", "status", text)
    other = "set slurm-status-command: sacct" if slurm.has_accounting else "ask for a larger one"
    return Line(
        "mend", "status", f"{text}, so that the end of a job could be missed for ever; {other}"
    )


def _probe(name: str, gpus: int, profile: Profile, token: str) -> Line:
    words = ["srun", "--ntasks=1", "--time=5", "--mem=3000", "--job-name=opensora-doctor"]
    words.append(f"--immediate={_START_S:.0f}")  # else srun would wait in the queue
    words += [f"--partition={name}"] if name else []
    words += [f"--gpus={gpus}"] if gpus else []
    account, qos = profile.defaults.get("slurm_account"), profile.settings.get("slurm-qos")
    words += [f"--account={account}"] if account else []
    words += [f"--qos={qos}"] if qos else []
    topic = f"a job on {name or 'the default partition'}"
    try:
        done = subprocess.run(
            [*words, sys.executable, "-c", _PROBE, token],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=2 * _START_S,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        why = f"did not end within {2 * _START_S:.0f} s" if late else str(error)
        return Line("note", topic, f"{why}; look with squeue --me")
    answer = done.stdout.split()
    if done.returncode or len(answer) != 3:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        if "Unable to allocate resources" in done.stderr and "Immediate" in done.stderr:
            return Line("note", topic, f"no node was free within {_START_S:.0f} s; try again")
        return Line("mend", topic, f"failed: {said[-1]}; is {sys.prefix} there on the nodes?")
    host, sees, count = answer
    if sees != "True":
        return Line("mend", topic, f"{host} does not see this folder; move it to a shared one")
    if gpus and not int(count):
        return Line("mend", topic, f"torch sees no GPU on {host}; compare `nvidia-smi` there")
    return Line("ok", topic, f"{host} sees this folder and the environment, {count} GPUs")
