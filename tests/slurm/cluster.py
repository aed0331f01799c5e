"""A real SLURM cluster on this machine: its daemons, in a folder of their own, as root.

Nothing of the machine is changed but marked lines in /etc/hosts, since node names must resolve, and
those go again. The plugin takes SLURM_CONF out of the environment of jobs, so the commands of SLURM
are called through small scripts that put it in.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm import accounting

HOSTS, MARK = Path("/etc/hosts"), "# opensora test cluster"
LOCK = Path("/tmp/opensora-test-cluster.lock")
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "runuser")
COMMANDS = ("sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel")
# daemons start with nothing of the shell: jobs would see its variables
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}


@dataclass(frozen=True)
class Kind:
    """What a cluster claims to have; the machine may be smaller.

    Attributes:
        nodes: how many.
        cpus: of each.
        mem_mb: of each.
        gpus: of each.
        preemptible: whether jobs of a partition `urgent` take the nodes from others.
        ends_large_jobs: whether a job that takes more memory than it asked for is ended.
        accounts: whether it remembers jobs that have ended, with slurmdbd.
    """

    nodes: int = 2
    cpus: int = 4
    mem_mb: int = 20_000
    gpus: int = 0
    preemptible: bool = False
    ends_large_jobs: bool = False
    accounts: bool = False

    def partitions(self) -> dict[str, str]:
        """Name -> its settings."""
        found = {"cpu": "Default=YES MaxTime=2-00:00:00"}
        if self.preemptible:
            found["cpu"] += " PriorityTier=1 PreemptMode=REQUEUE"
            found["urgent"] = "PriorityTier=10 PreemptMode=OFF"
        return found | ({"gpu": "MaxTime=1-00:00:00"} if self.gpus else {})


def missing() -> str:
    """Why no cluster can be started here, in a sentence; "" where one can."""
    lacking = [name for name in NEEDED if not shutil.which(name, path=CLEAN["PATH"])]
    if lacking:
        return f"no {', '.join(lacking)} here: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "the daemons of SLURM are started as root"


@dataclass
class Cluster:
    """A cluster that runs.

    Attributes:
        folder: state, logs and configuration.
        kind: what it claims to have.
        processes: its daemons.
        ports: of slurmdbd and its database, where there is accounting.
    """

    folder: Path
    kind: Kind
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: tuple[int, int] = (0, 0)

    @property
    def environment(self) -> dict[str, str]:
        """Variables for commands on its login node."""
        return {**os.environ, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command on the login node; neither output nor errors are shown."""
        return subprocess.run(
            words,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self) -> None:
        """Start munge, the controller and a daemon for each node.

        Raises:
            TimeoutError: one of them does not answer; its log lies in the folder.
        """
        self._write()
        socket_path = self.folder / "munge/munge.socket"
        self._daemon(
            *("runuser", "-u", "munge", "--", "munged", "--foreground", "--force"),
            *("--key-file", str(self.folder / "munge/munge.key"), "--socket", str(socket_path)),
            *("--pid-file", str(self.folder / "munge/pid"), "--num-threads", "2"),
            *("--seed-file", str(self.folder / "munge/seed"), "--log-file"),
            str(self.folder / "munge/log"),
        )
        wait_for(60, socket_path.exists)
        conf = str(self.folder / "slurm.conf")
        if self.kind.accounts:
            self._start_accounting()
        self.start_controller()
        for name in self._nodes():
            self._daemon("slurmd", "-D", "-f", conf, "-N", name)
        wait_for(240, self._is_idle)

    def restart_controller(self, pause_s: float) -> None:
        """End the controller and start it again, with what it has saved.

        Args:
            pause_s: seconds without one.
        """
        self.stop_controller()
        time.sleep(pause_s)
        self.start_controller()

    def stop_controller(self) -> None:
        """End the controller; daemons of nodes and their jobs go on."""
        self._controller.terminate()
        self._controller.wait(120)
        self.processes.remove(self._controller)

    def start_controller(self) -> None:
        """Start the controller, with what it has saved, and wait until it answers."""
        self._controller = self._daemon("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        wait_for(240, lambda: self.run("scontrol", "ping").returncode == 0)

    def stop(self) -> None:
        """End what was started, jobs first, and take its lines out of /etc/hosts."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self.run("scancel", "--user", "root")
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        _write_hosts([])

    def _start_accounting(self) -> None:
        database, keeper = accounting.daemons(self.folder, self.ports)
        self._daemon(*database)
        wait_for(240, (self.folder / "mariadb.sock").exists)
        self._daemon(*keeper)
        add = ("sacctmgr", "--immediate", "add")
        wait_for(240, lambda: self.run(*add, "cluster", "opensoratest").returncode == 0)
        self.run(*add, "account", accounting.ACCOUNT, "cluster=opensoratest")
        self.run(*add, "user", "root", f"account={accounting.ACCOUNT}", "cluster=opensoratest")

    def _nodes(self) -> list[str]:
        return [f"testnode{number}" for number in range(1, self.kind.nodes + 1)]

    def _is_idle(self) -> bool:
        found = self.run("sinfo", "-h", "-N", "-p", "cpu", "-t", "idle", "-o", "%N").stdout.split()
        return len(found) == self.kind.nodes

    def _daemon(self, *words: str) -> "subprocess.Popen[bytes]":
        log = open(self.folder / f"{len(self.processes)}.{words[0]}.log", "ab")  # noqa: SIM115
        self.processes.append(
            subprocess.Popen(
                words,
                env=CLEAN,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )
        return self.processes[-1]

    def _write(self) -> None:
        for name in ("ctld", "munge", "bin"):
            (self.folder / name).mkdir()
        dbd, database = free_ports(2)
        self.ports = (dbd, database)
        self.folder.chmod(0o755)
        key = self.folder / "munge/munge.key"
        key.write_bytes(os.urandom(1024))
        for path in (self.folder / "munge", key):
            shutil.chown(path, "munge", "munge")
        (self.folder / "munge").chmod(0o711)
        key.chmod(0o400)
        conf = self.folder / "slurm.conf"
        conf.write_text(self._configuration())
        if self.kind.gpus:
            # a device file each, which an empty file stands for
            for number in range(self.kind.gpus):
                (self.folder / f"gpu{number}").touch()
            files = f"{self.folder}/gpu[0-{self.kind.gpus - 1}]"
            (self.folder / "gres.conf").write_text(
                f"NodeName={','.join(self._nodes())} Name=gpu File={files}\n"
            )
        for name in (*COMMANDS, *(accounting.COMMANDS * self.kind.accounts)):
            path = self.folder / "bin" / name
            path.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec /usr/bin/{name} "$@"\n')
            path.chmod(0o755)
        _write_hosts(self._nodes())

    def _authentication(self) -> str:
        # a job that SLURM puts back waits as long as its credential holds, two minutes if unsaid
        return f"AuthInfo=socket={self.folder}/munge/munge.socket,cred_expire=20"

    def _accounting(self) -> list[str]:
        if self.kind.accounts:
            return accounting.settings(self.folder, self.ports[0])
        return ["AccountingStorageType=accounting_storage/none"]

    def _configuration(self) -> str:
        host, kind = socket.gethostname().partition(".")[0], self.kind
        ports = free_ports(1 + kind.nodes)
        lines = [
            *("ClusterName=opensoratest", f"SlurmctldHost={host}(127.0.0.1)"),
            *("SlurmUser=root", "SlurmdUser=root", "AuthType=auth/munge"),
            *(self._authentication(), "CryptoType=crypto/munge"),
            *(f"SlurmctldPort={ports[0]}", f"SlurmctldPidFile={self.folder}/slurmctld.pid"),
            f"FirstJobId={ports[0]}",  # the port at which nodes meet follows from it
            *(f"SlurmdPidFile={self.folder}/%n.pid", f"StateSaveLocation={self.folder}/ctld"),
            *(f"SlurmdSpoolDir={self.folder}/spool.%n", "ProctrackType=proctrack/pgid"),
            *("TaskPlugin=task/none", "JobAcctGatherType=jobacct_gather/linux"),
            *("SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory"),
            *("SlurmdParameters=config_overrides", "ReturnToService=2", "MailProg=/bin/true"),
            *self._accounting(),
            *(["GresTypes=gpu"] if kind.gpus else []),
            *(["PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE"] * kind.preemptible),
            *(["JobAcctGatherParams=OverMemoryKill"] * kind.ends_large_jobs),
            *(["JobAcctGatherFrequency=task=2"] * kind.ends_large_jobs),
        ]
        gres = f" Gres=gpu:{kind.gpus}" if kind.gpus else ""
        for name, port in zip(self._nodes(), ports[1:], strict=True):
            lines.append(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
                f" CPUs={kind.cpus} RealMemory={kind.mem_mb}{gres} State=UNKNOWN"
            )
        for name, settings in kind.partitions().items():
            lines.append(f"PartitionName={name} Nodes={','.join(self._nodes())} {settings}")
        return "\n".join(lines) + "\n"


@contextlib.contextmanager
def cluster(folder: Path, kind: Kind) -> Iterator[Cluster]:
    """Start a cluster and end it.

    Raises:
        RuntimeError: another one runs on this machine.
    """
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"another test cluster runs on this machine ({LOCK} is held); wait for its end"
            ) from None
        found = Cluster(folder, kind)
        try:
            found.start()
            yield found
        finally:
            found.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, as many as are asked for, all at once."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(seconds: float, is_there: Callable[[], bool]) -> None:
    """Wait until a function says yes.

    Raises:
        TimeoutError: it does not within the time.
    """
    end = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end:
            raise TimeoutError(f"not there after {seconds} s: {is_there}")
        time.sleep(0.2)


def _write_hosts(nodes: list[str]) -> None:
    """Put the names of nodes into /etc/hosts, in place of those of an earlier cluster."""
    lines = [line for line in HOSTS.read_text().splitlines() if not line.endswith(MARK)]
    if nodes:
        lines.append(f"127.0.0.1 {' '.join(nodes)} {MARK}")
    # in place: where it is mounted it can not be replaced
    HOSTS.write_text("\n".join(lines) + "\n")
