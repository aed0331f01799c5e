"""What is loaded for nothing costs a run seconds in each of its jobs."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WITHOUT_TORCH = [
    "opensora.curation.scenes.detect_scenes",
    "opensora.curation.clips.split_clips",
    "opensora.curation.captions.caption_clips",
    "opensora.curation.manifest.build_manifest",
    "opensora.plans.stage_plan",
    "opensora.demo.make",
    "opensora.report.pages",
    "opensora.curation.scores.score_clips",
    "opensora.curation.ingest.ingest_videos",
    "opensora.curation.manifest.import_manifest",
    "opensora.curation.scenes.import_scenes",
    "opensora.bench.curation_stages",
    "opensora.plans.items",
    "opensora.precompute.encode_videos",
    "opensora.precompute.encode_captions",
    "opensora.stores.catalogue",
    "opensora.models.weights.folders",
]


def loaded_modules(*words: str) -> set[str]:
    """Names of all modules that a Python process loads."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("config", ["demo.yaml", "test.yaml"])
def test_the_snakefile_loads_no_torch(config: str, tmp_path: Path) -> None:
    modules = loaded_modules(
        *("-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "-n", "all"),
        *("--profile", str(REPOSITORY / "profiles/test"), "--directory", str(tmp_path)),
        *("--configfile", str(REPOSITORY / "configs/workflow" / config)),
    )
    assert "opensora.dag.settings" in modules
    assert "torch" not in modules


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_a_stage_without_a_network_loads_no_torch(module: str) -> None:
    modules = loaded_modules("-c", f"import {module}")
    assert module in modules
    assert "torch" not in modules
