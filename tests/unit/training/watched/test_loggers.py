import sys
from types import SimpleNamespace

import pytest

from opensora.core.errors import ConfigError
from opensora.training.watched.loggers import open_loggers

LINE = {"step": 4, "loss": 0.5, "mfu": None, "bucket": "a", "loss_by_band": {"0.00-0.25": 0.25}}


class Writer:
    """As SummaryWriter."""

    def __init__(self, folder, purge_step=None):
        self.opened, self.points = (folder, purge_step), []

    def add_scalar(self, *point):
        self.points.append(point)

    def flush(self):
        self.points.append("flushed")


def test_both_loggers_get_the_numbers_of_a_line_and_go_on_where_a_run_resumes(
    tmp_path, monkeypatch
):
    writers, runs, logged = [], [], []

    def summary_writer(*arguments, **keywords):
        writers.append(Writer(*arguments, **keywords))
        return writers[-1]

    def init(**keywords):
        runs.append(keywords)
        return SimpleNamespace(log=lambda line, step: logged.append((step, line)))

    module = SimpleNamespace(SummaryWriter=summary_writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for step in (0, 3, 0):
        send = open_loggers(["tensorboard", "wandb"], {"seed": 1}, tmp_path, step=step)
        send(LINE)
    assert writers[0].points == [("loss", 0.5, 4), ("loss_by_band/0.00-0.25", 0.25, 4), "flushed"]
    assert logged[0] == (4, {"step": 4, "loss": 0.5, "loss_by_band/0.00-0.25": 0.25})
    # what lies behind the checkpoint goes; a run that begins anew is another one
    assert [writer.opened[1] for writer in writers] == [None, 4, None]
    assert runs[0]["id"] == runs[1]["id"] != runs[2]["id"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_is_a_sentence(tmp_path, monkeypatch, name):
    for module in ("wandb", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install opensora\[{name}\]"):
        open_loggers([name], {}, tmp_path, step=0)


def test_without_loggers_nothing_is_sent(tmp_path):
    assert open_loggers([], {}, tmp_path, step=0) is None
