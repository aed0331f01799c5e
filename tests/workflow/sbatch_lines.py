"""The sbatch lines that a workflow submits, asked of the plugin itself; see submitted()."""

import os
import stat
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# what stands for the commands of SLURM: sbatch writes its words down and names a job
_STAND_INS = {
    # a file each: several are submitted at once
    "sbatch": '#!/bin/sh\nprintf "%s\\0" "$@" > "$SBATCH_LINES/$$"\necho 7\n',
    "sinfo": "#!/bin/sh\nexit 0\n",
    "squeue": "#!/bin/sh\nexit 0\n",
    "scontrol": "#!/bin/sh\nexit 0\n",
    "sacctmgr": "#!/bin/sh\nexit 0\n",
}


def submitted(folder: Path, config: Path, target: str, *words: str) -> dict[str, list[str]]:
    """The lines of `submitted_jobs` by rule, of one job of each."""
    return {
        rule: line for (rule, _), line in submitted_jobs(folder, config, target, *words).items()
    }


def submitted_jobs(
    folder: Path, config: Path, target: str, *words: str
) -> dict[tuple[str, str], list[str]]:
    """Submit a workflow to a cluster that is not there, each job of which has ended at once.

    Args:
        folder: where to run; nothing in it but what the config names.
        config: of the workflow.
        target: public target.
        words: more options of snakemake.

    Returns:
        (rule, its wildcards joined by "_") -> words of sbatch.
    """
    tools = folder / "tools"
    tools.mkdir()
    for name, text in _STAND_INS.items():
        (tools / name).write_text(text)
        (tools / name).chmod(stat.S_IRWXU)
    lines = folder / "lines"
    lines.mkdir()
    environment = {**os.environ, "SBATCH_LINES": str(lines)}
    environment["PATH"] = f"{tools}{os.pathsep}{environment['PATH']}"
    profile = REPOSITORY / "profiles/slurm"
    done = subprocess.run(
        [
            *(sys.executable, __file__, target, "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--profile", str(profile), "--configfile", str(config), "--directory", str(folder)),
            *("--slurm-partition-config", str(profile / "partitions.yaml"), *words),
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = [path.read_text().split("\0")[:-1] for path in lines.iterdir()]
    return {_job(words): words for words in found}


def _job(words: list[str]) -> tuple[str, str]:
    comment = words[words.index("--comment") + 1]
    rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    return rule, wildcards


def _main() -> int:
    """Run Snakemake with a plugin that takes each submitted job for done, outputs and all."""
    from snakemake.cli import main
    from snakemake_executor_plugin_slurm import Executor
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    def ended(self: Executor, info: SubmittedJobInfo) -> None:
        job = info.job
        for path in map(Path, (*job.output, *job.log, str(job.benchmark))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
        self.report_job_success(info)

    Executor._report_job_submission_threadsafe = ended
    main(sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(_main())
