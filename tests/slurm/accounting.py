"""Accounting of a test cluster: MariaDB and slurmdbd, all in the cluster's folder."""

import secrets
import shutil
import subprocess
from pathlib import Path

NEEDED = ("slurmdbd", "mariadbd", "mariadb-install-db")
COMMANDS = ("sacct", "sacctmgr", "sshare")
ACCOUNT = "lab"
_DATABASE = "opensora_test"


def lacking(path: str) -> str:
    """What accounting needs and is not here, in a sentence; "" where all is.

    Args:
        path: folders of commands, with colons between.
    """
    names = [name for name in NEEDED if not shutil.which(name, path=path)]
    return f"no {', '.join(names)} here: apt-get install slurmdbd mariadb-server" if names else ""


def settings(folder: Path, port: int) -> list[str]:
    """Lines of slurm.conf.

    Args:
        folder: of the cluster.
        port: of slurmdbd.
    """
    return [
        # without the comment the table of what jobs used does not name their rules
        "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStoreFlags=job_comment",
        f"AccountingStorageHost=127.0.0.1\nAccountingStoragePort={port}",
        # with munge the "password" is the path of its socket
        f"AccountingStoragePass={folder}/munge/munge.socket",
    ]


def daemons(folder: Path, ports: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Write what the two daemons need; the commands that start them, the database first.

    Args:
        folder: of the cluster.
        ports: of slurmdbd and of the database.
    """
    password, data = secrets.token_hex(8), folder / "mariadb"
    begin = folder / "begin.sql"
    begin.write_text(
        f"CREATE DATABASE {_DATABASE};\nCREATE USER slurm@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL ON {_DATABASE}.* TO slurm@'127.0.0.1';\n"
    )
    conf = folder / "slurmdbd.conf"
    conf.touch(0o600)
    conf.write_text(
        f"AuthType=auth/munge\nAuthInfo=socket={folder}/munge/munge.socket\n"
        f"DbdHost=localhost\nDbdPort={ports[0]}\nSlurmUser=root\nPidFile={folder}/slurmdbd.pid\n"
        f"StorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\nStoragePort={ports[1]}\n"
        f"StorageUser=slurm\nStoragePass={password}\nStorageLoc={_DATABASE}\n"
    )
    where = ["--no-defaults", "--user=root", f"--datadir={data}"]
    subprocess.run(
        ["mariadb-install-db", *where, "--skip-test-db"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    database = [
        *("mariadbd", *where, f"--socket={folder}/mariadb.sock", f"--port={ports[1]}"),
        *("--bind-address=127.0.0.1", "--skip-name-resolve", f"--init-file={begin}"),
        *(f"--pid-file={folder}/mariadb.pid", "--innodb-buffer-pool-size=64M"),
        "--innodb-lock-wait-timeout=900",
    ]
    # it looks for its file beside slurm.conf
    return database, ["env", f"SLURM_CONF={folder}/slurm.conf", "slurmdbd", "-D"]
