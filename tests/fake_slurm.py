"""Commands that answer as a cluster would, for tests that need its words and no cluster."""

import stat
from collections.abc import Mapping
from pathlib import Path

# what `sinfo` answers to doctor: partition, nodes, CPUs, MB, GPUs, limit, preemption, up
NODES = """\
cpu*|4|32|128000|(null)|2-00:00:00|OFF|up
gpu|2|64|500000|gpu:a100:8(S:0-1)|1-00:00:00|OFF|up
"""
SETTINGS = """\
Configuration data as of 2026-01-01T00:00:00
AccountingStorageEnforce = none
AccountingStorageType   = accounting_storage/none
JobRequeue              = 1
MinJobAge               = 300 sec
PreemptMode             = OFF
"""
WITH_ACCOUNTS = SETTINGS.replace("Enforce = none", "Enforce = associations,limits").replace(
    "accounting_storage/none", "accounting_storage/slurmdbd"
)


def answering(folder: Path, answers: Mapping[str, str]) -> Path:
    """Write commands; each says its answer, or fails with it if it begins with `fail: `.

    Args:
        folder: to make, for PATH.
        answers: command -> what it says; `command words` answers those words alone.
    """
    folder.mkdir()
    commands: dict[str, list[str]] = {}
    for name, answer in answers.items():
        command, _, words = name.partition(" ")
        end = ">&2; exit 1" if answer.startswith("fail: ") else "; exit 0"
        text = folder / f"{name.replace(' ', '_')}.answer"
        text.write_text(answer.removeprefix("fail: "))
        test = f'case "$*" in *"{words}"*)' if words else "case x in x)"
        commands.setdefault(command, []).append(f"{test} cat '{text}' {end};; esac")
    for command, lines in commands.items():
        lines.sort(key=lambda line: "case x in" in line)  # the general answer last
        path = folder / command
        path.write_text("\n".join(["#!/bin/sh", *lines, "exit 0", ""]))
        path.chmod(stat.S_IRWXU)
    return folder
