"""Jobs run in the image that the config names; both definitions of it take the same steps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
REQUIREMENTS = REPOSITORY / "requirements"
# what stands for apptainer: writes its words down, and runs what comes behind the image
APPTAINER = """\
#!/bin/sh
[ "$1" = --version ] && { echo "apptainer version 1.3.4"; exit 0; }
echo "$@" >> "$APPTAINER_LINES"
while [ "$1" != "$APPTAINER_IMAGE" ]; do shift; done
shift
exec "$@"
"""


def test_both_definitions_take_the_same_steps() -> None:
    docker = (REQUIREMENTS / "Dockerfile").read_text()
    apptainer = (REQUIREMENTS / "apptainer.def").read_text()
    steps = re.findall(r"^RUN (.+)$", docker, re.M)
    post = apptainer.partition("%post\n")[2].partition("%environment")[0].split("\n")
    assert [line.strip() for line in post if line.strip()] == ["set -e", *steps]
    (base,) = re.findall(r"^FROM (.+)$", docker, re.M)
    assert re.findall(r"^From: (.+)$", apptainer, re.M) == [base]
    (path,) = re.findall(r"^ENV (.+)$", docker, re.M)
    assert f"export {path}\n" in apptainer


def test_both_copy_what_is_there_and_the_same() -> None:
    docker = (REQUIREMENTS / "Dockerfile").read_text()
    copied = {
        (source, target)
        for words in re.findall(r"^COPY (.+)$", docker, re.M)
        for *sources, target in [words.split()]
        for source in sources
    }
    files = (REQUIREMENTS / "apptainer.def").read_text()
    files = files.partition("%files\n")[2].partition("%post")[0]
    assert copied == {tuple(line.split()) for line in files.splitlines() if line.strip()}
    assert all((REPOSITORY / source).exists() for source, _ in copied)
    assert any("lock.txt" in source for source, _ in copied)


def run(folder: Path, container: str, *words: str) -> tuple[int, str, list[str]]:
    """Run the first rule; returns exit code, all that was said, and the lines of apptainer."""
    config = {"run": "x", "demo": {"num_videos": 1, "scenes_per_video": 1, "num_images": 0}}
    config |= {"num_shards": 1, "container": container}
    config["stages"] = [{"name": "one", "config": "configs/demo/train/stage1.py"}]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "tools").mkdir()
    for name in ("apptainer", "singularity"):
        (folder / "tools" / name).write_text(APPTAINER)
        (folder / "tools" / name).chmod(0o700)
    lines = folder / "lines"
    environment = {**os.environ, "APPTAINER_LINES": str(lines), "APPTAINER_IMAGE": container}
    environment["PATH"] = f"{folder / 'tools'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "results/x/ingest/0000.parquet"),
            *("--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)),
            *("--profile", str(REPOSITORY / "profiles/test"), "--until", "make_demo"),
            *("--configfile", str(folder / "config.yaml"), *words),
        ],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env=environment,
    )
    seen = lines.read_text().splitlines() if lines.exists() else []
    return done.returncode, done.stdout + done.stderr, seen


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_runs_in_the_image_of_the_config(tmp_path: Path) -> None:
    image = tmp_path / "opensora.sif"
    image.touch()
    code, said, lines = run(tmp_path, str(image), "--sdm", "apptainer")
    assert code == 0, said
    assert (tmp_path / "results/x/raw/videos").is_dir()
    assert len(lines) == 1
    assert str(image) in lines[0]
    assert "opensora make-demo" in lines[0]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_image_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    code, said, lines = run(tmp_path, "none.sif", "--sdm", "apptainer")
    assert code != 0
    assert "container: 'none.sif' does not exist; build it from requirements/apptainer.def" in said
    assert "Traceback" not in said
    assert lines == []
