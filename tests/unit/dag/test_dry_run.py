"""Snakemake's dry run, as its version 9.27 prints it, becomes a list of jobs."""

from pathlib import Path

import pytest

from opensora.core.errors import ConfigError, OpenSoraError
from opensora.dag.dry_run import dry_run, parse_dry_run

HEAD = """\
Building DAG of jobs...
Job stats:
job         count
--------  -------
clips           1
scores          1
manifest        1
all             1
total           4


"""
JOBS = """\
[Sun Nov 22 20:20:00 2026]
checkpoint clips:
    output: clips/0001.csv, clips/0001
    log: logs/clips/0001.log
    jobid: 4
    benchmark: benchmarks/clips/run/0001.tsv
    reason: Params have changed since last execution: Union of exclusive params before and \
now across all output: before: 'two
    lines' now: 9 
    wildcards: shard=0001
    resources: tmpdir=/tmp
[Sun Nov 22 20:20:00 2026]
rule scores:
    input: clips/0001.csv
    output: scores/0001.csv
    jobid: 3
    benchmark: benchmarks/scores/run/0001.tsv
    reason: Missing output files: scores/0001.csv; Input files updated by another job: \
clips/0001.csv
    wildcards: stage=one, shard=0001
    threads: 2
    resources: tmpdir=/tmp, gpu=8, mem_mb=10, mem=10 MB, mem_mib=10
[Sun Nov 22 20:20:00 2026]
localrule manifest:
    input: scores/0001.csv
    output: m.csv
    jobid: 7
    reason: Input files updated by another job: scores/0001.csv
    resources: tmpdir=/tmp
[Sun Nov 22 20:20:00 2026]
rule all:
    input: m.csv
    jobid: 0
    reason: Input files updated by another job: m.csv
    resources: tmpdir=/tmp
"""
TAIL = """\
Job stats:
job         count
--------  -------
total           4

Reasons:
    (check individual jobs above for details)
    input files updated by another job:
        all, manifest, scores
"""


def test_jobs_keep_what_the_dry_run_says_of_them() -> None:
    clips, scores, manifest = parse_dry_run(HEAD + JOBS + TAIL)  # `all` makes nothing
    assert clips.rule == "clips"
    assert clips.outputs == ["clips/0001.csv", "clips/0001"]
    assert clips.reason.endswith("before: 'two\n    lines' now: 9 ")
    assert (clips.wildcards, clips.gpus) == ({"shard": "0001"}, 0)
    assert scores.inputs == ["clips/0001.csv"]
    assert scores.benchmark == "benchmarks/scores/run/0001.tsv"
    assert (scores.wildcards, scores.gpus) == ({"stage": "one", "shard": "0001"}, 8)
    assert (manifest.rule, manifest.benchmark) == ("manifest", "")


def test_nothing_to_do_is_an_empty_list() -> None:
    assert parse_dry_run("Building DAG of jobs...\nNothing to be done.\n") == []


def test_a_job_that_was_not_understood_is_an_error_not_a_gap() -> None:
    unknown = JOBS.replace("rule scores:", "rule of a new kind, scores:")
    with pytest.raises(OpenSoraError, match="announces 4 jobs and describes 3"):
        parse_dry_run(HEAD + unknown + TAIL)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such workflow config"):
        dry_run(tmp_path / "nowhere.yaml")
    config = tmp_path / "run.yaml"
    config.touch()
    with pytest.raises(ConfigError, match="Snakefile: no such Snakefile"):
        dry_run(config, snakefile=tmp_path / "Snakefile")
