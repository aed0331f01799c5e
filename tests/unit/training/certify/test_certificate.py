"""`opensora train --verify-resume`, started as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensora.config.load import save_config
from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json
from opensora.core.seal import is_as_sealed
from opensora.core.signals import StopSignals
from opensora.training.certify import certificate
from opensora.training.certify.runs import Runs
from opensora.training.certify.verdict import Check
from tests.unit.training.conftest import make_stores


@pytest.mark.slow
def test_a_run_of_one_process_is_certified_and_left_alone(make_config, tmp_path: Path) -> None:
    # batches of two sizes: two workers count them alike, and accumulated they would not
    stores = make_stores(tmp_path / "stores", images=3, epochs=2)
    config = make_config(num_steps=None, accumulate=1)
    fields = {**vars(config), "dataset": {"type": "LatentDataset", **stores}}
    save_config(fields, tmp_path / "config.py")
    words = ["train", str(tmp_path / "config.py"), "--verify-resume", "--steps", "5"]
    done = subprocess.run(
        [sys.executable, "-m", "opensora.cli.main", *words],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outputs = Path(config.outputs)
    assert [path.name for path in outputs.iterdir()] == ["certificate.json"]
    assert not list(tmp_path.glob(".*"))
    found = read_json(outputs / "certificate.json")
    assert is_as_sealed(found)
    assert found["passed"] is True
    assert [check["passed"] for check in found["checks"]] == [True, True, True]
    signal, kill, other = (check["resumed_from"] for check in found["checks"])
    assert (signal, other) == (2, 2)
    assert kill in (2, 3)  # the checkpoint of step 3 is written beside the steps, or not yet
    assert found["computed_with"]["workers"] == 1
    assert "resume by 2 instead of 1 processes passed" in done.stdout


def test_a_failed_check_is_one_sentence_and_stands_in_the_certificate(
    make_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"what": "ema.x", "step": 8, "largest": 0.5}
    words = "at step 8 ema.x differs from an undisturbed run, by up to 0.5"
    checks = [
        Check("resume after a signal", True, "fine"),
        Check("resume", False, words, 3, broken),
    ]
    monkeypatch.setattr(Runs, "checks", lambda _: (checks, {"device": "cpu"}))
    config = make_config(num_steps=None)
    counts = {"steps": 8, "processes": 1, "gpus": 0}
    with (
        StopSignals() as signals,
        pytest.raises(OpenSoraError, match=r"^--verify-resume: resume: at step 8 ema\.x differs"),
    ):
        certificate.certify(config, {}, **counts, start=lambda _: None, signals=signals)
    found = read_json(Path(config.outputs) / "certificate.json")
    assert found["passed"] is False
    assert found["checks"][1]["difference"] == broken
    assert not list(tmp_path.glob(".*"))
