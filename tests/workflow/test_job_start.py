"""A job reads what the run has listed, and does not look at the inputs again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
WATCH = Path(__file__).parent / "touching"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NUM_VIDEOS = 20
# as the plugins of clusters call Snakemake inside a job
AS_A_JOB = ("--mode", "remote", "--force", "--nolock", "--no-hooks", "--ignore-incomplete")


def touched(folder: Path, name: str, *words: str) -> list[str]:
    """What a dry run looks at below the folder of videos."""
    log = folder / f"{name}.log"
    path = os.pathsep.join([str(WATCH), os.environ.get("PYTHONPATH", str(REPOSITORY))])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--profile", str(REPOSITORY / "profiles/test"), "--directory", str(folder)),
            *("--configfile", str(folder / "config.yaml"), "--dry-run", *words),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "OPENSORA_WATCHED": str(folder / "videos"),
            "OPENSORA_TOUCHED": str(log),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run on files of some bytes, captions beside them."""
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    del config["demo"]
    config |= {"run": "own", "videos": ["videos"], "num_shards": 4}
    config["sample"]["prompts"] = "prompts.txt"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "prompts.txt").write_text("a box\n")
    (tmp_path / "videos/more").mkdir(parents=True)
    for number in range(NUM_VIDEOS):
        (tmp_path / f"videos/more/{number}.mp4").write_bytes(b"%d" % number)
        (tmp_path / f"videos/more/{number}.txt").write_text("a box")
    return tmp_path


def test_only_the_run_looks_at_the_videos(run: Path) -> None:
    seen = touched(run, "run", "all")
    assert sum(line.startswith("stat") for line in seen) >= 2 * NUM_VIDEOS  # beside them, too
    assert any(line.startswith("scandir") for line in seen)
    for rule in ("ingest_videos", "detect_scenes", "caption_clips"):
        words = ("--target-jobs", f"{rule}:shard=0002", "--allowed-rules", rule, *AS_A_JOB)
        assert touched(run, rule, *words) == [], rule


def test_a_job_lists_anew_where_the_run_has_listed_something_else(run: Path) -> None:
    touched(run, "run", "all")
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "videos": ["videos/more"]}))
    words = ("--target-jobs", "detect_scenes:shard=0002", "--allowed-rules", "detect_scenes")
    assert touched(run, "job", *words, *AS_A_JOB) != []
