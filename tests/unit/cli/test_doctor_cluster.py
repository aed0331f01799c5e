"""`opensora doctor --cluster` on a login node whose SLURM is a few words."""

import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from opensora.cli.main import main
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table
from tests.fake_slurm import NODES, SETTINGS, WITH_ACCOUNTS, answering

REPOSITORY = Path(__file__).parents[3]
PROFILE = {
    "executor": "slurm",
    "slurm-partition-config": "partitions.yaml",
    "slurm-no-requeue": True,
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 10,
}
FILE = "partitions: {cpu: {max_runtime: 2880}, gpu: {max_runtime: 1440, max_gpu: 16}}\n"


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Runs it on a small project; returns exit code, lines, and the sentence of an error."""
    monkeypatch.chdir(tmp_path)
    for name in ("workflow", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "partitions.yaml").write_text(FILE)

    def run(*words: str, profile=None, config=None, **answers: str) -> tuple[int, str, str]:
        fields = {"demo": {"num_videos": 1}, "run": "x", "num_shards": 1}
        fields["stages"] = [{"name": "one", "config": "configs/demo/train/stage1.py"}]
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields | (config or {})))
        (tmp_path / "profile").mkdir()
        text = yaml.safe_dump(PROFILE | (profile or {}))
        (tmp_path / "profile/config.v9+.yaml").write_text(text)
        commands = {"sinfo": NODES, "scontrol": SETTINGS, **answers}
        tools = answering(tmp_path / "tools", commands)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/usr/bin:/bin")
        code = main(["doctor", "--cluster", "run.yaml", "--profile", "profile", *words])
        said = capsys.readouterr()
        return code, said.out, said.err.strip()

    return run


def mends(lines: str) -> list[str]:
    found = [line for line in lines.splitlines() if line.startswith("mend ")]
    # pytest's folders lie in /tmp, which is to be told of
    return [line for line in found if not line.startswith("mend project folder")]


def test_a_cluster_that_fits_is_described(doctor) -> None:
    _, lines, _ = doctor()
    assert mends(lines) == []
    for words in (
        "cpu (default) 4 x 32 CPUs, 128 GB; jobs up to 2 d",
        "gpu 2 x 64 CPUs, 500 GB, 8 GPUs; jobs up to 1 d",
        "partitions.yaml: 2 partitions, all there",
        "kinds of jobs fit; ",
        "none; squeue says how jobs end",
        "JobRequeue=1, PreemptMode OFF; block 2 of the profile fits",
        "MinJobAge is 300 s, the first check after 10 s",
        "latents and embeddings are known once there is a manifest",
    ):
        assert words in lines


@pytest.mark.parametrize(
    ("profile", "config", "answers", "expected"),
    [
        ({}, {"resources": {"train": {"mem": "9TB"}}}, {}, "9000 GB on a node and partition cpu"),
        (
            {"default-resources": {"slurm_partition": "big"}},
            {},
            {},
            "'big' does not exist",
        ),
        ({"default-resources": ["slurm_partition=big"]}, {}, {}, "'big' does not exist"),
        ({"slurm-requeue": True}, {}, {}, "no partition of the run is preemptible"),
        ({"slurm-no-requeue": False}, {}, {}, "would both start a job again"),
        ({}, {}, {"sinfo": NODES.replace("OFF", "REQUEUE")}, "set slurm-requeue: true in block 2"),
        ({}, {}, {"scontrol": SETTINGS.replace("300", "60")}, "could be missed for ever; ask for"),
        ({"slurm-status-command": "sacct"}, {}, {}, "has slurm-status-command: sacct; take it out"),
        ({"slurm-efficiency-report": True}, {}, {}, "slurm-efficiency-report; take it out"),
        ({}, {}, {"scontrol": WITH_ACCOUNTS, "sacctmgr": ""}, "refuses jobs without an account"),
        (
            {},
            {},
            {"scontrol": WITH_ACCOUNTS, "sacctmgr": "lab\n", "sacct": "fail: no connection"},
            "sacct fails: SLURM does not answer: sacct --noheader: no connection",
        ),
        ({}, {}, {"sinfo": NODES.replace("cpu*", "batch*")}, "names cpu, and there are batch, gpu"),
        ({}, {}, {"sinfo": NODES.replace("2-00", "1-00")}, "write max_runtime, minutes: cpu 1440"),
        (
            {},
            {
                "models": {"vae": {"from_pretrained": "./none"}},
                "encode": {"vae_stride": [1, 8, 8]},
            },
            {},
            "'./none' is neither",
        ),
    ],
)
def test_each_thing_to_mend_is_a_line_and_code_2(
    profile, config, answers, expected, doctor
) -> None:
    code, lines, error = doctor(profile=profile, config=config, **answers)
    assert any(expected in line for line in mends(lines)), lines
    assert code == 2
    assert "lines are to be mended, marked `mend`; the first: " in error


def test_a_job_is_submitted_only_on_request(doctor, tmp_path: Path) -> None:
    _, lines, _ = doctor("--submit", srun="node7 True 0\n")
    assert "a job on cpu    node7 sees this folder and the environment, 0 GPUs" in lines
    assert not list(tmp_path.glob(".doctor-*"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("node7 False 0\n", "node7 does not see this folder; move it to a shared one"),
        ("fail: execve(): python: No such file or directory", "failed: execve(): python: No such"),
    ],
)
def test_a_node_without_folder_or_environment(answer: str, expected: str, doctor) -> None:
    code, lines, _ = doctor("--submit", srun=answer)
    assert code == 2
    assert any(expected in line for line in mends(lines)), lines


def test_gpus_that_torch_does_not_see(doctor) -> None:
    stages = [{"name": "one", "config": "configs/demo/train/stage1.py", "gpus": 1}]
    _, lines, _ = doctor("--submit", srun="node7 True 0\n", config={"stages": stages})
    assert any("torch sees no GPU on node7" in line for line in mends(lines)), lines


def test_disk_is_told_once_there_is_a_manifest(doctor, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "results/x/manifest"
    folder.mkdir(parents=True)
    names = ("path", "text", "num_frames", "height", "width", "split", "id")
    rows = [(f"{k}.mp4", f"box {k}", 16, 32, 32, "train", f"c{k}") for k in range(64)]
    table = pd.DataFrame(rows, columns=names).assign(
        sha256="0", aspect_ratio=1.0, resolution=1024, text_len=2, fps=8.0, source="s", start=0.0,
        end=2.0, status="ok",
    )  # fmt: skip
    write_table(table, folder / "0000.parquet", MANIFEST)
    _, lines, _ = doctor(config={"encode": {"vae_stride": [1, 4, 4]}})
    (line,) = [line for line in lines.splitlines() if " of latents and embeddings; " in line]
    assert line.startswith("ok ")
    assert float(line.partition("at most, ")[2].split()[0]) > 0
    free = SimpleNamespace(total=1, used=1, free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    assert main(["doctor", "--cluster", "run.yaml", "--profile", "profile"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cluster", "none.yaml"], "none.yaml: no such file; run this in the folder of the"),
        (["--cluster", "x.yaml", "--yes"], "--yes has no effect with --cluster"),
        (["--submit"], "--submit belongs to --cluster"),
        (["--cluster", "x.yaml", "--vae", "x"], "--vae has no effect with --cluster"),
    ],
)
def test_what_contradicts_itself_is_one_sentence(words, message, capsys) -> None:
    assert main(["doctor", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_slurm_it_is_one_sentence(doctor, monkeypatch, tmp_path: Path, capsys) -> None:
    doctor()
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["doctor", "--cluster", "run.yaml", "--profile", "profile"]) == 2
    assert capsys.readouterr().err == (
        "opensora doctor: no SLURM here: the command sinfo is not found; run this on a login node"
        " of the cluster\n"
    )
