import logging
import time

import pytest

from opensora.training.watched.watch import FIRST_STEPS, FirstStepsCheck, Watchdog


def test_a_step_that_takes_too_long_is_named_with_its_clips(caplog, capfd):
    # the limit also is what a busy machine may take to leave step 8
    with caplog.at_level(logging.WARNING), Watchdog(limit_s=0.5) as watchdog:
        watchdog.enter(7, ["beach", "forest"])
        deadline = time.monotonic() + 60
        while "stall step=7" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
        watchdog.enter(8, ["sea"])
    assert "stall step=7" in caplog.text
    assert "ids=beach,forest" in caplog.text
    assert "stall step=8" not in caplog.text


def test_steps_in_time_are_not_named(caplog):
    with caplog.at_level(logging.WARNING), Watchdog(limit_s=60) as watchdog:
        for step in range(50):
            watchdog.enter(step, [])
    assert caplog.text == ""


@pytest.mark.parametrize(("loss", "warned"), [(0.5, False), (0.97, False), (0.99, True)])
def test_a_model_no_better_than_predicting_zero_is_warned_about(caplog, loss, warned):
    check = FirstStepsCheck()
    with caplog.at_level(logging.INFO):
        for _ in range(FIRST_STEPS - 1):
            check.observe(loss, 1.0)
        assert caplog.text == ""
        check.observe(loss, 1.0)
        check.observe(loss, 1.0)
    assert caplog.text.count("first_steps steps=100") == 1
    assert ("no_better_than_zero" in caplog.text) == warned
