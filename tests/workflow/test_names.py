"""Names in a config mean what they say: no brace of theirs is one of Snakemake's wildcards."""

import json
import shutil
from pathlib import Path

import yaml

from .test_dry_run import REPOSITORY, snakemake

DEMO = REPOSITORY / "configs/workflow/demo.yaml"


def dry_run(config: dict, folder: Path) -> str:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("all", "-p", "--configfile", str(folder / "config.yaml"), folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_braces_in_every_name_reach_their_commands(tmp_path: Path) -> None:
    files = ("{p}/prompts.txt", "{c}.csv", "{w}.pth", "{l}.safetensors", "{h}.pth", "{t}.csv")
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    for name in ("{shard}", "a {stage}", "{vae}", "{t5}", "{clip}", "{look}"):
        (tmp_path / name).mkdir()
    vae = {"_class_name": "AutoencoderKL", "block_out_channels": [8, 8, 8]}  # says its stride
    (tmp_path / "{vae}/config.json").write_text(json.dumps(vae))
    # a config's name has braces in its folder: files of Python may not
    config_of_stage = tmp_path / "{cfg}" / "stage1.py"
    config_of_stage.parent.mkdir()
    shutil.copy(REPOSITORY / "tests/data/configs/stage1.py", config_of_stage)
    sampling = config_of_stage.with_name("sample.py")
    shutil.copy(REPOSITORY / "tests/data/configs/sample.py", sampling)
    config = yaml.safe_load(DEMO.read_text())
    config.pop("demo")
    config |= {
        "videos": ["{shard}", "a {stage}"],
        "captions": {"sidecar": ["{c}.csv"], "captioner": "transformers", "model": "./{look}"}
        | {"prompt": "what is {x}?"},
        "scorers": ["technical", "flow", "aesthetic", "match"],
        "scorer_options": {
            "flow": {"raft": "./{w}.pth"},
            "aesthetic": {"clip": "./{look}", "head": "./{h}.pth"},
        },
        "keep_if": ["source != '{a}' and flow > 1"],
        "licences": ["{free}"],
        "models": {
            "vae": {"from_pretrained": "./{vae}"},
            "clip": {"from_pretrained": "./{clip}"},
            "text_encoder": {"from_pretrained": "./{t5}"},
        },
        "stages": [
            {"name": "one", "config": str(config_of_stage), "load": "./{l}.safetensors"},
        ],
        "sample": {"config": str(sampling), "prompts": "{p}/prompts.txt"},
    }
    shown = dry_run(config, tmp_path)
    for words in (
        "ingest-videos '{shard}' 'a {stage}' --output",
        "--sidecar '{c}.csv' ",
        "--prompt 'what is {x}?'",
        '"raft": "./{w}.pth"',
        '"clip": "./{look}", "head": "./{h}.pth"',
        "--clip './{clip}'",
        """--keep-if 'source != '"'"'{a}'"'"' and flow > 1' --licences '{free}'""",
        "--vae './{vae}'",
        "--text-encoder './{t5}'",
        f"assign-buckets '{config_of_stage}'",
        f"train '{config_of_stage}' --outputs",
        "--load './{l}.safetensors'",
        f"sample '{sampling}'",
        "--prompt-path '{p}/prompts.txt'",
    ):
        assert words in shown, words
    scenes = {**config, "scenes": {"table": "{t}.csv"}}
    assert "import-scenes '{t}.csv'" in dry_run(scenes, tmp_path)
    ready = {name: config[name] for name in ("run", "models", "stages", "sample")}
    shown = dry_run(ready | {"manifest": "{t}.csv", "root": "{shard}"}, tmp_path)
    assert "import-manifest '{t}.csv' --root '{shard}'" in shown
