import logging
import os
import signal
import time

import pytest

from opensora.training.watch import FIRST_STEPS, FirstStepsCheck, StopSignals, Watchdog


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_is_remembered_and_a_second_one_is_not_held_back(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append("former"))
    try:
        with StopSignals() as signals:
            assert signals.received is None
            os.kill(os.getpid(), number)
            assert signals.received == number.name
            assert heard == []
            os.kill(os.getpid(), number)
            assert heard == ["former"]
    finally:
        signal.signal(number, before)


def test_leaving_restores_the_former_handlers():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


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
