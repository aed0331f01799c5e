import json
from argparse import Namespace
from pathlib import Path

import pytest

from opensora.bench.checkout import run_in
from opensora.bench.train import against, earlier
from opensora.bench.train.table import against_table
from opensora.core.errors import ConfigError, OpenSoraError

ARGS = {"steps": 1, "repeats": 1, "cpu": True, "no_compile": False, "turns": 2}


def asked(folder, **fields):
    return Namespace(**{**ARGS, "against": str(folder), "cfg_options": ["depth=1"], **fields})


@pytest.fixture
def calls(monkeypatch):
    """What would be run; each call is a millisecond slower than the one before."""
    done = []

    def call(folder, words, program=("-c",)):
        done.append((words, folder))
        ms = 10.0 + len(done)
        specs = [] if program else json.loads(words[1])
        figures = {"rows": [{"case": "default", "ms": ms}, {"case": "reference", "ms": 1.0}]}
        Path(words[-1]).write_text(json.dumps({s["name"]: ms for s in specs} or figures))

    monkeypatch.setattr(against, "run_in", call)
    return done


def checkout(tmp_path, *, has_command):
    (tmp_path / "opensora/cli/bench").mkdir(parents=True)
    (tmp_path / "opensora/__init__.py").touch()
    if has_command:
        (tmp_path / "opensora/cli/bench/train.py").touch()
    return tmp_path


def test_checkouts_take_turns(tmp_path, calls):
    folder = checkout(tmp_path, has_command=True)
    mine, theirs = against.take_turns(asked(folder), ["reference", "default"])
    assert mine["default"] == [11.0, 13.0]
    assert theirs["default"] == [12.0, 14.0]
    assert [place == folder for _, place in calls] == [False, True] * 2
    assert calls[0][0][:5] == ["bench", "train", "--cases", "reference,default", "--steps"]


def test_an_earlier_checkout_is_timed_without_the_command(tmp_path, calls):
    folder = checkout(tmp_path, has_command=False)
    mine, theirs = against.take_turns(asked(folder, turns=1), ["reference", "default"])
    assert theirs == {"default": [12.0]}
    (spec,) = json.loads(calls[1][0][1])
    assert (spec["name"], spec["model"]) == ("default", {"depth": 1})
    table = against_table(mine, theirs)
    assert "| default | 11.0 | 12.0 | 1.09 (1.09 to 1.09) |" in table
    assert "| reference | 1.0 | does not know it | |" in table


def test_its_batches_have_the_shapes_of_ours():
    spec = {"batch_size": 2, "frames": 3, "side": 16, "model": {"model_max_length": 5}}
    batch = earlier.Source(spec).read(0)
    assert batch["latents"].shape == (2, 4, 3, 2, 2)
    assert batch["y"].shape == (2, 1, 5, 4096)
    assert batch["mask"].sum(1).tolist() == [5, 5]


def test_no_checkout_and_a_failure_are_sentences(tmp_path):
    with pytest.raises(ConfigError, match="no checkout of opensora"):
        against.take_turns(asked(tmp_path), ["default"])
    with pytest.raises(OpenSoraError, match=r"failed: RuntimeError: no GPU"):
        run_in(tmp_path, ["raise RuntimeError('no GPU')"], program=["-c"])
