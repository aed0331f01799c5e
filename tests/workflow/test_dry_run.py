"""The job graph of every shipped config builds before anything runs; mistakes are one sentence."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forked

REPOSITORY = Path(__file__).parents[2]


def snakemake(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    return forked.run("snakemake", *words, "--dry-run", *arguments, timeout=120)


def shipped() -> list[Path]:
    return sorted((REPOSITORY / "configs/workflow").glob("*.yaml"))


def leave_results_of_the_run_before(content: dict[str, Any], folder: Path) -> None:
    """Weights and encoders of another run, for a config that stands on them."""
    if weights := content["stages"][0].get("load"):
        (folder / weights).parent.mkdir(parents=True)
        (folder / weights).touch()
    for name, model in content.get("models", {}).items():
        path = folder / str(model.get("from_pretrained", ""))
        if path.is_relative_to(folder / "results"):
            path.mkdir(parents=True)
            if name == "vae":
                fields = {"block_out_channels": [16, 32, 64], "latent_channels": 4}
                text = json.dumps({"_class_name": "AutoencoderKL", **fields})
                (path / "config.json").write_text(text)


@pytest.mark.parametrize("config", shipped(), ids=lambda path: path.name)
@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_a_shipped_config_gives_a_job_graph(config: Path, profile: str, tmp_path: Path) -> None:
    content = yaml.safe_load(config.read_text())
    for folder in content.get("videos", []):
        (tmp_path / folder).mkdir(parents=True)
    sidecars = content.get("captions", {}).get("sidecar", [])
    for name in [*sidecars, content.get("sample", {}).get("prompts")]:
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("text,reference_path\na cat,\n")
    leave_results_of_the_run_before(content, tmp_path)
    done = snakemake(
        *("all", "--profile", str(REPOSITORY / "profiles" / profile), "--configfile", str(config)),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = done.stdout.partition("score_clips")[2].split()[0]
    assert int(count) == content.get("num_shards", 8)  # one job a shard, whatever the scorers


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("num_shard=2", "unknown field 'num_shard'; did you mean 'num_shards'"),
        ("num_shards=none", "num_shards: 'none' is not of type 'integer'"),
        ("videos=[nowhere]", "not both"),
        ("resources={encode_video: {gpus: 1}}", "'resources.encode_video'; did you mean"),
        ("resources={train: {mem: 16}}", "resources.train.mem: '16'; expected a number"),
        ("sample={config: nowhere.py}", "nowhere.py: no such config file"),
        ("evaluate={vbnech: {}}", "unknown field 'evaluate.vbnech'; did you mean 'vbench'"),
        ("evaluate={vbench: {stage3: .}}", "'stage3' is not sampled; did you mean 'stage2'"),
        ("evaluate={vbench: {stage2: nowhere}}", "stage2: 'nowhere' has no *_eval_results.json"),
        ("report={agianst: []}", "unknown field 'report.agianst'; did you mean 'against'"),
        ("report={against: [nowhere]}", "report.against: 'nowhere' does not exist"),
    ],
)
def test_a_mistake_in_the_config_is_one_sentence(
    setting: str, sentence: str, tmp_path: Path
) -> None:
    demo = REPOSITORY / "configs/workflow/demo.yaml"
    done = snakemake("--configfile", str(demo), "--config", setting, folder=tmp_path)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_clip_is_named_by_the_shipped_config_and_trained_only_where_asked(tmp_path: Path) -> None:
    default = yaml.safe_load((REPOSITORY / "configs/workflow/default.yaml").read_text())
    assert default["models"]["clip"]["from_pretrained"]
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    config["scorers"].remove("match")  # which needs one
    for named in ("configs/demo/clip.py", None):
        config["models"]["clip"] = {"from_pretrained": None, "config": named}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        done = snakemake("--configfile", str(tmp_path / "config.yaml"), folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("train_clip" in done.stdout) == (named is not None)


def test_what_was_measured_elsewhere_reaches_its_commands(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    stage = config["stages"][-1]["name"]
    config["evaluate"] = {"vbench": {stage: "my found"}}
    config["report"] = {"against": ["results/other", "mine/one.json"]}
    other = "results/other/evaluation/last.json"
    for name in ("my found/a_eval_results.json", "my found/full_info.json", "mine/one.json", other):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    stages = {"stages": [{"name": "first"}, {"name": "last"}, {"name": "not yet"}]}
    (tmp_path / "results/other/config.yaml").write_text(yaml.safe_dump(stages))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("-p", "--configfile", str(tmp_path / "config.yaml"), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    own = f"results/demo/evaluation/{stage}.json"
    for words in (
        f"--vbench 'my found/a_eval_results.json' --output {own}",
        f"--against {other} mine/one.json {own} --output results/demo/against.json",
        "--output results/demo/report/index.html --against results/demo/against.json --pictures",
    ):
        assert words in done.stdout, words


def test_an_online_stage_needs_no_stores(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    config["stages"][-1]["online"] = True
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("train_all", "--configfile", str(tmp_path / "config.yaml"), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = done.stdout.partition("encode_videos")[2].split()[0]
    # of two stages one still encodes ahead, in a job a shard
    assert int(jobs) == config["num_shards"]
    for stage in config["stages"]:
        stage["online"] = True
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("train_all", "--configfile", str(tmp_path / "config.yaml"), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "encode_" not in done.stdout


def test_every_curation_setting_reaches_its_command(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    config |= {
        "keep_if": ["flow > 0.5 or kind == 'image'"],
        "licences": ["CC-BY", "CC0"],
        "dedup": {"max_distance": 4},
        "max_clips_per_source": 9,
        "prefer": "sharpness",
        "scorers": ["technical", "flow", "camera", "phash", "ocr", "aesthetic"],
        "scorer_options": {"aesthetic": {"clip": "my clip", "head": "head.pth"}},
        "scenes": {"detector": "hash", "transitions": "split"},
        "clips": {"mode": "copy", "min_s": 1.0},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = ("curate_all", "-p", "--configfile", str(tmp_path / "config.yaml"))
    done = snakemake(*words, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for option in (
        """--keep-if 'flow > 0.5 or kind == '"'"'image'"'"'' --licences CC-BY CC0""",
        "--max-distance 4 --max-clips-per-source 9 --prefer sharpness",
        "--scorer technical flow camera phash ocr aesthetic",
        """--options '{"aesthetic": {"clip": "my clip", "head": "head.pth"}}'""",
        "--detector hash",
        "--transitions split",
        "--mode copy --workers",
    ):
        assert option in done.stdout, option


def test_every_encoding_setting_reaches_its_command(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    config["encode"] |= {"dtype": "bf16", "posterior": "moments", "min_psnr": 12.5, "int8": True}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = ("precompute_all", "-p", "--configfile", str(tmp_path / "config.yaml"))
    done = snakemake(*words, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for option in (
        "--dtype bf16 --posterior moments --seed 42 --min-psnr 12.5 ",
        "--max-length 64 --dtype bf16 --int8 --output",
        "--type t5 --text-encoder results/demo/models/text_encoder --max-length 64 --dtype",
    ):
        assert option in done.stdout, option


@pytest.mark.parametrize(
    ("fields", "max_length", "option", "rule"),
    [
        ({"type": "clip"}, 16, "clip --text-encoder results/demo/models/clip --max-length 16", ""),
        ({"type": "clip", "from_pretrained": "a/b"}, None, "clip --text-encoder a/b --dtype", ""),
        ({"type": "classes", "num_classes": 7}, None, "classes --num-classes 7 --dtype", ""),
        ({}, None, "t5 --text-encoder results/demo/models/text_encoder --dtype", "rule train_text"),
    ],
)
def test_the_type_of_the_text_encoder_reaches_its_command(
    fields: dict[str, object], max_length: int | None, option: str, rule: str, tmp_path: Path
) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    config["models"]["text_encoder"] = fields
    config["encode"]["max_length"] = max_length
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    target = "results/demo/embeddings/0000.parquet"
    done = snakemake(target, "-p", "--configfile", str(tmp_path / "config.yaml"), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"--type {option}" in done.stdout
    assert ("rule train_text_encoder" in done.stdout) == bool(rule)
