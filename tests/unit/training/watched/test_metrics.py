import json

import pytest

from opensora.training.watched.metrics import MetricsLog


def steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_line_holds_the_mean_since_the_last_one_and_the_smoothed_loss(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.observe(1.0)
    log.observe(3.0)
    line = log.write(2, lr=0.1)
    # smoothed: starts at the first loss, then 0.98 * 1 + 0.02 * 3
    assert line == {"step": 2, "loss": 2.0, "loss_ema": pytest.approx(1.04), "lr": 0.1}
    log.observe(5.0)
    assert log.write(3)["loss"] == 5.0
    assert steps(tmp_path / "metrics.jsonl") == [2, 3]


def test_resuming_cuts_off_later_and_half_written_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    log = MetricsLog(path, step=2, loss_ema=1.0)
    assert steps(path) == [1, 2]
    log.observe(2.0)
    assert log.write(3)["loss_ema"] == pytest.approx(1.02)
    assert steps(path) == [1, 2, 3]


@pytest.mark.parametrize("left", [[3], [1, 3], [], [1, 2, 3, 4]])
def test_lines_that_were_lost_come_back_from_the_checkpoint(tmp_path, caplog, left):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in left))
    carried = '{"step": 1}\n{"step": 2}\n{"step": 3}\n'
    log = MetricsLog(path, step=3, loss_ema=1.0, carried=carried)
    assert log.text == carried
    mended = [record.getMessage() for record in caplog.records]
    kept = len([step for step in left if step <= 3])
    assert [f"kept={kept} of=3 lines" in line for line in mended] == ([True] if kept < 3 else [])


def test_a_broken_line_is_mended(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\x00"step": 2}\n')
    carried = '{"step": 1}\n{"step": 2}\n'
    assert MetricsLog(path, step=2, carried=carried).text == carried
    assert "kept=1 of=2" in caplog.text


def test_lines_are_sent_on(tmp_path):
    sent = []
    log = MetricsLog(tmp_path / "metrics.jsonl", send=sent.append)
    log.observe(1.0)
    assert sent == [log.write(1)]
