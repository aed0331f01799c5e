import logging

import pandas as pd
import pytest
import torch

from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError
from opensora.datasets.rejects import Reject, Rejects
from opensora.tables.columns import REJECTED
from opensora.training.rejects import RejectedClips, write_rejected

ALONE = Workers(0, 1, torch.device("cpu"))


def reject(name: str) -> Reject:
    return Reject(name, f"{name}.mp4", "missing", f"{name}.mp4 does not exist")


def test_what_is_met_is_logged_once_and_written_by_id(tmp_path, caplog):
    rejects, path = Rejects(10, 1.0), tmp_path / "rejected.csv"
    clips = RejectedClips(rejects, path, ALONE, resumes=False)
    clips.share()
    assert not path.exists()
    with caplog.at_level(logging.WARNING):
        for name in ("b", "a", "b"):
            rejects.add(reject(name))
            clips.share()
    assert [record.message.split()[1] for record in caplog.records] == ["id=b", "id=a"]
    table = pd.read_csv(path)
    assert list(table) == list(REJECTED.columns)
    assert table["id"].tolist() == ["a", "b"]


def test_a_resumed_run_knows_them_and_a_fresh_one_does_not(tmp_path):
    path = tmp_path / "rejected.csv"
    write_rejected(path, [reject("a"), reject("b")])
    again = RejectedClips(Rejects(10, 0.2), path, ALONE, resumes=True)
    assert again.rows() == [reject("a"), reject("b")]
    with pytest.raises(ConfigError, match="2 of the 10 clips"):
        RejectedClips(Rejects(10, 0.1), path, ALONE, resumes=True)
    fresh = RejectedClips(Rejects(10, 0.1), path, ALONE, resumes=False)
    assert fresh.rows() == []
    assert not path.exists()


def test_a_run_without_rejects_has_an_empty_table(tmp_path):
    write_rejected(tmp_path / "rejected.csv", [])
    assert (tmp_path / "rejected.csv").read_text() == "id,path,stage,reason,detail\n"
