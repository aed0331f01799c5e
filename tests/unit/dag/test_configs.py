"""Configs as rules read them: bases merged, comments gone, contradictions said."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from opensora.config.registry import MODELS, registered_names
from opensora.config.text_types import TEXT_LENGTHS
from opensora.core.errors import ConfigError
from opensora.dag.configs import (
    check_configs,
    encoder_fields,
    plan_fields,
    reference_hashes,
    resolved,
    sampling_fields,
    training_fields,
    weights_of,
)
from opensora.dag.identity import canonical_text
from opensora.dag.settings import check_workflow_config

REPOSITORY = Path(__file__).parents[3]
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"
STAGE = 'bucket_config = {"32px": {8: (1.0, 2)}}\nmodel = dict(type="STDiT2")\n'


def write(folder: Path, name: str, text: str) -> str:
    """A config file; each test has its own folder, for what is read is kept by path."""
    path = folder / name
    path.write_text(text)
    return str(path)


def workflow(folder: Path, stage: str, **changes: Any) -> dict[str, Any]:
    write(folder, "stage.py", STAGE + stage)
    for name in ("sample.py", "vae.py", "clip.py", "text_encoder.py"):
        write(folder, name, "seed = 1\n")
    models = {name: {"config": f"{name}.py"} for name in ("vae", "clip", "text_encoder")}
    config: dict[str, Any] = {
        **{"run": "x", "demo": {"num_videos": 1}, "sample": {"config": "sample.py"}},
        **{"stages": [{"name": "one", "config": "stage.py"}], "models": models, **changes},
    }
    check_workflow_config(config, SCHEMA)
    return config


def test_bases_are_merged_and_comments_change_nothing(tmp_path: Path) -> None:
    write(tmp_path, "base.py", STAGE + "lr = 0.1\n")
    one = write(tmp_path, "one.py", '_base_ = ["base.py"]\nepochs = 2\nnum_steps = 3\n')
    two = write(tmp_path, "two.py", STAGE + "# why\nnum_steps = 3\nepochs = 2\nlr = 0.1\n")
    options = {"seed": 1, "starts_itself": True, "online": False}
    assert training_fields(one, **options) == training_fields(two, **options)
    assert plan_fields(one, seed=1, epochs=None) == plan_fields(two, seed=1, epochs=None)
    assert encoder_fields(one, seed=1) == encoder_fields(two, seed=1)


def test_old_spellings_are_those_of_today(tmp_path: Path) -> None:
    write(tmp_path, "old.py", 'model = dict(type="STDiT2", enable_flashattn=True)\n')
    write(tmp_path, "new.py", 'model = dict(type="STDiT2", enable_flash_attn=True)\n')
    one, other = (resolved(str(tmp_path / name), "train") for name in ("old.py", "new.py"))
    assert one == other


def test_what_the_workflow_gives_stands_for_the_configs_own(tmp_path: Path) -> None:
    path = write(tmp_path, "a.py", STAGE + "seed = 7\nepochs = 9\nload = 'other.pth'\n")
    assert plan_fields(path, seed=1, epochs=2).items() >= {"seed": 1, "epochs": 2}.items()
    assert plan_fields(path, seed=1, epochs=None)["epochs"] == 9
    first = training_fields(path, seed=1, starts_itself=True, online=False)
    later = training_fields(path, seed=1, starts_itself=False, online=False)
    assert first.pop("load") == "other.pth"
    assert first == later


def test_weights_that_are_here_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    text = f"load = '{tmp_path}/w.pth'\nmodel = dict(type='a', from_pretrained='org/model')\n"
    path = write(tmp_path, "a.py", text)
    assert weights_of(path, starts_itself=True) == [f"{tmp_path}/w.pth"]
    assert weights_of(path, starts_itself=False) == []


def test_adapters_to_sample_with_are_known_by_their_content(tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    path = write(tmp_path, "sample.py", f"seed = 1\nlora = {str(lora)!r}\n")
    assert sampling_fields(path)["lora"] == str(lora)  # a job says that it is not there
    lora.write_bytes(b"one")
    one = sampling_fields(path)["lora"]
    lora.write_bytes(b"two")
    assert len({one, sampling_fields(path)["lora"], str(lora)}) == 3


def test_references_are_known_by_their_content(tmp_path: Path) -> None:
    for name in ("one.png", "two.png", "three.mp4"):
        (tmp_path / name).write_text(name)
    entries = [f"{tmp_path}/one.png; https://example.org/x.png", None]
    path = write(tmp_path, "a.py", f"reference_path = {entries!r}\n")
    fields = f'{{"reference_path": "{tmp_path}/two.png;{tmp_path}/three.mp4"}}'
    prompts = Path(write(tmp_path, "prompts.txt", f"a cat{fields}\na dog\na {{brace\n"))
    before = reference_hashes(path, prompts)
    assert [Path(name).name for name in before] == ["one.png", "two.png", "three.mp4"]
    (tmp_path / "two.png").write_text("other")
    after = reference_hashes(path, prompts)
    assert [name for name in before if before[name] != after[name]] == [f"{tmp_path}/two.png"]
    (tmp_path / "two.png").unlink()
    with pytest.raises(ConfigError, match=r"two\.png': no such file"):
        reference_hashes(path, prompts)
    assert len(reference_hashes(path, "not/there/yet.txt")) == 1


def test_references_of_a_table_of_prompts_are_known_by_their_content(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_text(name)
    path, prompts = write(tmp_path, "a.py", ""), tmp_path / "prompts.csv"
    prompts.write_text(f"text,reference_path\na cat,{tmp_path}/one.png;{tmp_path}/two.png\na,\n")
    before = reference_hashes(path, prompts)
    assert [Path(name).name for name in before] == ["one.png", "two.png"]
    (tmp_path / "two.png").write_text("other")
    after = reference_hashes(path, prompts)
    assert [name for name in before if before[name] != after[name]] == [f"{tmp_path}/two.png"]
    beside = write(tmp_path, "b.py", 'reference_path = ["gone.png"]\n')
    assert reference_hashes(beside, prompts) == after  # the table takes the place of these
    prompts.write_text("text,reference_path\na cat,gone.png\n")
    with pytest.raises(ConfigError, match=r"gone\.png': no such file"):
        reference_hashes(path, prompts)


def test_references_behind_prompts_with_breaks_inside_are_those_that_sample_reads(tmp_path):
    path, prompts = tmp_path / "sample.py", tmp_path / "prompts.txt"
    path.write_text("")
    (tmp_path / "cat.png").write_bytes(b"a picture")
    for odd in ("\u2028", "\u2029", "\x85", "\x0c"):
        fields = f'{{"reference_path":{odd}"{tmp_path}/cat.png", "mask_strategy": "0"}}'
        prompts.write_text(f"a cat,{odd}asleep{fields}\na dog\n", encoding="utf-8")
        assert list(reference_hashes(str(path), prompts)) == [f"{tmp_path}/cat.png"]


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("lr = (\n", {}, r"stage\.py: SyntaxError"),
        ("_base_ = ['nowhere.py']\n", {}, r"stage\.py: "),
        ("model = 3\n", {}, r"stage\.py: model is 3; expected its fields"),
        (
            "vae = dict(from_pretrained='org/vae')\n",
            {"models": {"vae": {"from_pretrained": "org/other"}}},
            r"one: stage\.py names vae\.from_pretrained 'org/vae' and models\.vae\.from_pretrained"
            " is 'org/other'",
        ),
        (
            "text_encoder = dict(from_pretrained='org/t5')\n",
            {},
            r"text_encoder\.from_pretrained 'org/t5' and .* is None, so that the one that the run",
        ),
        (
            "text_encoder = dict(model_max_length=200)\n",
            {},
            r"text_encoder\.model_max_length 200 and encode\.max_length is 120",
        ),
        (
            "lora = dict(rank=4, targets=['qkv'], output='separate')\n",
            {},
            r"one: stage\.py has lora\.output 'separate', which leaves no weights to sample from",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    stage: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = workflow(tmp_path, stage)
    for name, fields in changes.get("models", {}).items():
        config["models"][name] |= fields
    with pytest.raises(ConfigError, match=message):
        check_configs(config, tmp_path, "results/x")


@pytest.mark.parametrize(
    "stage",
    [
        "",
        "vae = dict(from_pretrained=None)\ntext_encoder = dict(model_max_length=120)\n",
        "vae = dict(type='VideoAutoencoderKL', from_pretrained='results/x/models/vae')\n",
        "text_encoder = dict(from_pretrained='./results/x/models/text_encoder')\n",
    ],
)
def test_an_encoder_that_agrees_or_is_left_open_passes(stage: str, tmp_path: Path) -> None:
    check_configs(workflow(tmp_path, stage), tmp_path, "results/x")


def test_workers_that_form_no_groups_are_said_before_any_job(tmp_path: Path) -> None:
    config = workflow(tmp_path, "sp_size = 2\n")
    config["stages"][0] |= {"nodes": 1, "gpus": 3, "processes": 1}
    with pytest.raises(ConfigError, match=r"one: stage\.py: sp_size is 2, .* and 3 can not be"):
        check_configs(config, tmp_path, "results/x")
    config["stages"][0] |= {"nodes": 2}
    check_configs(config, tmp_path, "results/x")


def test_a_text_encoder_that_is_trained_as_another_network_is_said(tmp_path: Path) -> None:
    config = workflow(tmp_path, "")
    config["models"]["text_encoder"] |= {"type": "umt5"}
    write(tmp_path, config["models"]["text_encoder"]["config"], "num_steps = 2\n")
    with pytest.raises(ConfigError, match=r"type is umt5 and .* trains a t5"):
        check_configs(config, tmp_path, "results/x")
    write(tmp_path, config["models"]["text_encoder"]["config"], "type = 'umt5'\n")
    resolved.cache_clear()
    check_configs(config, tmp_path, "results/x")


def test_a_missing_config_is_one_sentence(tmp_path: Path) -> None:
    config = workflow(tmp_path, "")
    config["models"]["clip"]["config"] = "nowhere.py"
    with pytest.raises(ConfigError, match=r"nowhere\.py: no such config file"):
        check_configs(config, tmp_path, "results/x")
    config["models"]["clip"]["from_pretrained"] = "org/clip"  # then it is not read
    check_configs(config, tmp_path, "results/x")


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs/workflow").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_shipped_config_agrees_with_its_stages(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    config["videos"] = ["*.mp4"] if config.get("videos") else []
    check_workflow_config(config, SCHEMA)
    check_configs(config, REPOSITORY, f"results/{config['run']}")


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_every_shipped_config_has_an_identity(kind: str) -> None:
    paths = sorted((REPOSITORY / "configs").glob(f"*/{kind}/*.py"))
    assert paths
    for path in map(str, paths):
        if kind == "inference":
            canonical_text(sampling_fields(path))
            continue
        canonical_text(plan_fields(path, seed=1, epochs=None))
        for online in (True, False):
            canonical_text(training_fields(path, seed=1, starts_itself=True, online=online))


def test_a_config_is_read_without_torch() -> None:
    path = REPOSITORY / "configs/opensora-v1-1/train/stage1.py"
    code = (
        "import sys; from opensora.dag.configs import resolved;"
        f" resolved({str(path)!r}, 'train'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", TEXT_LENGTHS)
def test_the_length_of_a_text_is_the_encoders_own(kind: str) -> None:
    assert kind in registered_names(MODELS)
    encoder = MODELS.module_dict[kind]
    default = inspect.signature(encoder).parameters["model_max_length"].default
    assert default == TEXT_LENGTHS[kind]
