import os
import signal
import subprocess
import sys
import time

import pytest

from opensora.core.signals import STARTED_BY, EndSignals, StopSignals

NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_remembered_and_those_after_it_are_heard_as_well(number, capfd):
    before = signal.getsignal(number)
    with StopSignals(speak=True) as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number.name
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == "SIGTERM"
    assert signal.getsignal(number) == before
    assert capfd.readouterr().err.count("stop_asked") == 1


def test_the_end_of_the_launcher_is_a_signal():
    # a shell starts the worker and is gone
    code = (
        "import os, sys, time\n"
        "from opensora.core.signals import StopSignals\n"
        f"os.environ['{STARTED_BY}'] = str(os.getppid())\n"
        "with StopSignals() as signals:\n"
        "    print('ready', flush=True)\n"
        "    while not signals.received: time.sleep(0.05)\n"
        "print(signals.received, flush=True)\n"
    )
    starter = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {code!r}])\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    start = time.monotonic()
    assert process.stdout.readline() == "the end of its launcher\n"
    assert time.monotonic() - start < 60


def test_a_worker_that_is_done_keeps_its_exit_code():
    code = (
        "import os, signal\n"
        "from opensora.core.signals import StopSignals\n"
        f"os.environ['{STARTED_BY}'] = str(os.getppid())\n"
        "with StopSignals(): pass\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("number", EndSignals.SIGNALS)
def test_any_signal_that_ends_a_command_unwinds_it_once(number):
    before = signal.getsignal(number)
    with EndSignals() as signals:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # does not break into the tidying up
        assert signals.received == number.name
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("kind", [EndSignals, StopSignals])
def test_what_nohup_keeps_from_a_process_stays_kept_from_it(kind):
    code = (
        "import os, signal\n"
        f"from opensora.core.signals import {kind.__name__}\n"
        f"with {kind.__name__}() as signals:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print(signals.received)\n"
    )
    command = ["nohup", sys.executable, "-c", code]
    done = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


def test_a_signal_after_the_work_changes_no_exit_code():
    code = (
        "import os, signal, time\n"
        "from opensora.core.signals import EndSignals\n"
        "with EndSignals() as signals: signals.finish(7)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(50)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=40, check=False).returncode == 7
