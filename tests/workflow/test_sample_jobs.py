"""Samples of a stage in several jobs, whose tables are joined."""

import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]


def test_each_job_makes_a_part_and_one_joins_them(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    config["sample"]["num_jobs"] = 3
    config["stages"][0]["milestones"] = [20]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    words += ["--directory", str(tmp_path), "--configfile", str(tmp_path / "config.yaml")]
    words += ["--dry-run", "--printshellcmds", "--", "sample_all"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [line.strip() for line in done.stdout.splitlines() if "opensora sample " in line]
    for stage in ("stage1@20", "stage2"):
        own = [line for line in lines if f"--save-dir results/demo/samples/{stage} " in line]
        parts = sorted(line.partition("--part ")[2][:3] for line in own if "--part " in line)
        assert parts == ["1/3", "2/3", "3/3"]
        (join,) = [line for line in own if "--join-parts 3 " in line]
        assert "--ckpt-path" not in join
        assert all(f"train/{stage}/ema.safetensors" in line for line in own if line != join)
