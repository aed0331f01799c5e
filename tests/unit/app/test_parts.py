"""What a run offers to the page, and what it says where something is missing."""

import os
from pathlib import Path

import pytest
import yaml

from opensora.app.parts import Parts, check_weights, parts_of_run, read_form_config
from opensora.core.errors import ConfigError, OpenSoraError

MODELS = {
    "vae": {"config": "v.py", "from_pretrained": None},
    "clip": {"config": "c.py", "from_pretrained": None},
    "text_encoder": {"type": "t5", "from_pretrained": None},
}


def write_run(folder: Path, **models) -> Path:
    settings = {"models": {**MODELS, **models}, "sample": {"config": "s.py"}, "seed": 5}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def write_weights(run: Path, name: str, time: int) -> Path:
    path = run / "train" / name / "ema.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    os.utime(path, (time, time))
    return path


def test_stages_and_milestones_stand_in_the_order_of_training(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r")
    names = ["stage1@10", "stage1", "finetune@4"]
    files = [write_weights(run, name, time) for time, name in enumerate(names, start=1)]
    assert parts_of_run(run) == Parts(
        config=Path("s.py"),
        checkpoints=dict(zip(names, files, strict=True)),
        options=[
            *("--seed", "5", "--vae", str(run / "models/vae")),
            *("--text_encoder", str(run / "models/text_encoder")),
        ],
    )


@pytest.mark.parametrize(
    ("encoder", "folder"),
    [
        ({"type": "t5", "from_pretrained": "mine/t5"}, "mine/t5"),
        ({"type": "clip", "from_pretrained": None}, "r/models/clip"),
        ({"type": "classes", "from_pretrained": None}, None),
    ],
)
def test_encoders_are_those_of_the_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder, folder
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("r"), text_encoder=encoder)
    write_weights(run, "stage1", 1)
    options = list(parts_of_run(run).options)
    told = options[options.index("--text_encoder") + 1] if "--text_encoder" in options else None
    assert told == folder


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder of a run"):
        parts_of_run(tmp_path / "none")
    with pytest.raises(ConfigError, match="has no weights yet"):
        parts_of_run(write_run(tmp_path / "r"))
    with pytest.raises(ConfigError, match="give --ckpt-path"):
        check_weights({}, {})
    with pytest.raises(OpenSoraError, match="no such file or folder"):
        check_weights({}, {"stage1": tmp_path / "none.safetensors"})


def test_encoders_without_weights_are_refused(tmp_path: Path) -> None:
    weights = {"stage1": write_weights(tmp_path, "stage1", 1)}
    config = {"model": {"type": "STDiT2"}, "vae": {"type": "VideoAutoencoderKL"}}
    with pytest.raises(ConfigError, match="give their folder with --vae"):
        check_weights(config, weights)
    config["vae"]["from_pretrained"] = str(tmp_path / "none")
    with pytest.raises(OpenSoraError, match="neither a folder on this disk nor a hub name"):
        check_weights(config, weights)


def test_the_config_names_no_prompts(tmp_path: Path) -> None:
    demo = "configs/demo/inference/sample.py"
    config = read_form_config(Path(demo), ["--seed", "9"], tmp_path)
    assert (config["seed"], config["save_dir"]) == (9, str(tmp_path))
    assert "prompt" not in config
    with pytest.raises(ConfigError, match="names prompts"):
        read_form_config(Path(demo), ["--prompt", "a cat"], tmp_path)
    with pytest.raises(ConfigError, match="sp_size"):
        read_form_config(Path(demo), ["--sp-size", "2"], tmp_path)
