"""A run of Snakemake with the display: what a person reads, on a terminal and elsewhere."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "1"]
DISPLAY = ["--logger", "opensora", "--keep-going"]
CLEAR = "\r\x1b[2K"
SNAKEFILE = """
logger.info("", extra={"opensora_report": "index.html"})

rule all:
    input: "index.html"

rule report:
    input: "stage1.txt"
    output: "index.html"
    shell: "touch {output}"

rule train:
    output: "{stage,stage[12]}.txt"
    log: "logs/train/own/{stage}.log"
    benchmark: "benchmarks/train/own/{stage}.tsv"
    shell:
        "echo \\"$(date '+%Y-%m-%d %H:%M:%S') INFO opensora.progress train done=3/8 seconds=1\\""
        " > {log}; sleep {config[seconds]}; touch {output}"

rule broken:
    output: "broken.txt"
    log: "logs/broken.log"
    shell: "(echo one; echo 'opensora broken: no clip has a caption'; exit 2) > {log} 2>&1"

rule two:
    input: "broken.txt", "stage1.txt"

rule lost:
    input: "nowhere.txt"
    output: "lost.txt"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "config.yaml").write_text("seconds: 0\n")
    return tmp_path


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*SNAKEMAKE, "--configfile", "config.yaml", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def on_a_terminal(
    folder: Path, *words: str, seconds: float, stop_when: str = ""
) -> tuple[int, str]:
    """Run with the error stream on a terminal; Ctrl-C once some text is there."""
    main, worker = pty.openpty()
    process = subprocess.Popen(
        [*SNAKEMAKE, *DISPLAY, "--config", f"seconds={seconds}", "--", *words],
        cwd=folder,
        stderr=worker,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(worker)
    written = b""
    started = time.monotonic()
    while time.monotonic() - started < 60:
        try:
            part = os.read(main, 1 << 16)
        except OSError:  # how a terminal says that its last writer is gone
            break
        if not part:
            break
        written += part
        if stop_when and stop_when in written.decode(errors="ignore"):
            stop_when = ""
            os.killpg(process.pid, signal.SIGINT)
    os.close(main)
    return process.wait(timeout=60), written.decode().replace("\r\n", "\n")


def test_a_run_ends_with_its_report_and_so_does_one_with_nothing_to_do(folder: Path) -> None:
    done = snakemake(folder, *DISPLAY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "3 jobs to run"
    assert lines[1].startswith("1 of 3 jobs · train stage1 in ")
    assert lines[2].startswith("2 of 3 jobs · report in ")
    assert lines[3].startswith("3 jobs done in ")
    assert lines[4:] == ["report: index.html"]
    again = snakemake(folder, *DISPLAY)
    assert again.stderr.splitlines() == [
        "Nothing to be done, all is up to date",
        "report: index.html",
    ]


def test_snakemakes_own_log_is_whole(folder: Path) -> None:
    snakemake(folder, *DISPLAY)
    (log,) = (folder / ".snakemake/log").glob("*.snakemake.log")
    text = log.read_text()
    for words in ("Job stats:", "rule train:", "reason: ", "Finished jobid: ", "3 of 3 steps"):
        assert words in text


def test_a_failure_is_its_sentence_and_its_log(folder: Path) -> None:
    done = snakemake(folder, *DISPLAY, "--", "two")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    at = lines.index("broken failed: no clip has a caption")
    assert lines[at + 1] == "log: logs/broken.log"
    assert lines[-2].startswith("1 of 3 jobs failed, 1 done, 1 not run, in ")
    assert lines[-1].startswith("all that Snakemake said: .snakemake/log/")
    for word in ("Traceback", "Exception", "CalledProcess", "one", "At least", "Exiting"):
        assert word not in lines
        assert not [line for line in lines if line.startswith(word)]


@pytest.mark.parametrize(
    ("extra", "target", "sentences"),
    [
        ("", "lost.txt", ("Missing input files for rule lost:", "nowhere.txt")),
        ("", "unknown.txt", ("No rule to produce unknown.txt",)),
        ("rule all", "all", ("SyntaxError in file", "line 12:")),
        ("raise WorkflowError('an unknown field')", "all", ("an unknown field",)),
        ("raise KeyError('a defect of ours')", "all", ("KeyError in file", "'a defect of ours'")),
    ],
)
def test_an_error_before_the_first_job_is_shown_whole_and_once(
    folder: Path, extra: str, target: str, sentences: tuple[str, ...]
) -> None:
    with open(folder / "Snakefile", "a") as file:
        file.write(f"\n{extra}\n")
    done = snakemake(folder, *DISPLAY, "--", target)
    assert done.returncode == 1
    assert done.stderr.count(sentences[0]) == 1
    for sentence in sentences:
        assert sentence in done.stderr
    assert "jobs" not in done.stderr


def test_a_locked_folder_is_said_once(folder: Path) -> None:
    locks = folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    for kind in ("input", "output"):
        (locks / f"0.{kind}.lock").write_text("stage1.txt\nindex.html\n")
    done = snakemake(folder, *DISPLAY)
    assert done.returncode == 1
    assert done.stderr.count("Directory cannot be locked") == 1
    assert "--unlock" in done.stderr


@pytest.mark.parametrize("words", [["--dry-run"], ["--dag"]])
def test_what_runs_nothing_answers_as_without_the_display(folder: Path, words: list[str]) -> None:
    ours, plain = snakemake(folder, *DISPLAY, *words), snakemake(folder, *words)
    assert ours.returncode == plain.returncode == 0

    def steady(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith(("  ", "["))]

    assert steady(ours.stdout) == steady(plain.stdout)
    assert steady(ours.stderr) == steady(plain.stderr)
    if words == ["--dry-run"]:
        assert "rule train:" in ours.stdout
        assert "    output: stage1.txt" in ours.stdout


def test_a_terminal_shows_one_line_with_steps_and_time_left(folder: Path) -> None:
    for rule, name, seconds in [("train", "stage1", 300), ("report", "all", 60)]:
        path = folder / f"benchmarks/{rule}/own/{name}.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(f"s\n{seconds}\n")
    code, text = on_a_terminal(folder, seconds=1.5)
    assert code == 0, text
    drawn = text.split(CLEAR)
    # 1 s for 3 of 8 steps; then a minute for the report
    assert "train stage1 · 0 of 3 jobs · 3 of 8 steps · 1 min left" in drawn
    assert text.count("\n") == 2  # all else is drawn over
    assert drawn[-1].startswith("3 jobs done in ")
    assert drawn[-1].endswith("\nreport: index.html\n")


def test_without_records_no_time_is_claimed(folder: Path) -> None:
    code, text = on_a_terminal(folder, seconds=1.5)
    assert code == 0, text
    assert "train stage1 · 0 of 3 jobs · 3 of 8 steps" in text.split(CLEAR)
    assert "left" not in text


def test_ctrl_c_ends_with_a_clean_line(folder: Path) -> None:
    code, text = on_a_terminal(folder, seconds=30, stop_when="train stage1")
    assert code == 1, text
    assert "Traceback" not in text
    assert "failed" not in text
    last = text.split(CLEAR)[-1].splitlines()[-1]
    assert last.startswith("stopped after ")
    assert last.endswith(": 0 of 3 jobs done; the same command continues")


def test_ctrl_c_while_the_graph_is_built_is_no_defect(folder: Path) -> None:
    with open(folder / "Snakefile", "a") as file:
        file.write("\nimport time, sys\nprint('building', file=sys.stderr)\ntime.sleep(30)\n")
    code, text = on_a_terminal(folder, seconds=0, stop_when="building")
    assert code == -signal.SIGINT
    assert text.split(CLEAR)[-1] == "stopped\n"
    assert "Traceback" not in text


def test_the_local_profile_has_the_display(folder: Path) -> None:
    done = snakemake(folder, "--profile", str(REPOSITORY / "profiles/local"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "report: index.html"
    assert "rule train:" not in done.stderr


def test_quiet_and_verbose_say_less_and_more(folder: Path) -> None:
    quiet = snakemake(folder, *DISPLAY, "--quiet")
    assert [line.split(" in ")[0] for line in quiet.stderr.splitlines()] == [
        "3 jobs done",
        "report: index.html",
    ]
    verbose = snakemake(folder, *DISPLAY, "--verbose", "--forceall")
    assert "rule train:" in verbose.stderr
    assert verbose.stderr.splitlines()[-1] == "report: index.html"
