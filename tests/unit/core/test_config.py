"""Configs: overrides, unknown names, saving."""

from pathlib import Path

import pytest

from opensora.core.config import load_config, parse_overrides, save_config
from opensora.core.errors import ConfigError


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("lr = 1e-4\nmodel = dict(type='STDiT2', depth=4)\nbuckets = {'32px': {1: 2}}\n")
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--lr", "2e-4"], [("lr", 2e-4)]),
        (["--model.depth=8"], [("model.depth", 8)]),
        (["--image-size", "256", "384"], [("image_size", [256, 384])]),
        (["--cfg-options", "a.b=c", "d=1"], [("a.b", "c"), ("d", 1)]),
        (["--load", "none", "--wandb", "true"], [("load", None), ("wandb", True)]),
        (["--outputs", "results/a b"], [("outputs", "results/a b")]),
    ],
)
def test_command_line_words_become_values(words: list[str], expected: list) -> None:
    assert parse_overrides(words) == expected


@pytest.mark.parametrize("words", [["lr", "1"], ["--lr"], ["--cfg-options", "a.b"]])
def test_malformed_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        parse_overrides(words)


def test_an_override_reaches_a_nested_field(config_file: Path) -> None:
    config = load_config(config_file, ["--model.depth", "8", "--model.time-scale", "0.5"])
    assert (config.model.depth, config.model.time_scale, config.lr) == (8, 0.5, 1e-4)


def test_an_override_makes_the_fields_above_it(config_file: Path) -> None:
    config = load_config(config_file, ["--dataset.latents", "here", "--dataset.plan", "there"])
    assert config.dataset == {"latents": "here", "plan": "there"}


def test_an_unknown_field_names_the_nearest(config_file: Path) -> None:
    known = {"lr", "model", "buckets", "epochs"}
    with pytest.raises(ConfigError, match="unknown field 'epoch'; did you mean 'epochs'"):
        load_config(config_file, ["--epoch", "3"], known=known)


def test_a_field_below_a_value_is_refused(config_file: Path) -> None:
    with pytest.raises(ConfigError, match="has no fields"):
        load_config(config_file, ["--lr.start", "3"])


@pytest.mark.parametrize("text", ["lr = ", "lr = 1 / 0"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.py"):
        load_config(path)


def test_a_saved_config_loads_equal(config_file: Path, tmp_path: Path) -> None:
    config = load_config(config_file)
    save_config(config, tmp_path / "saved.py")
    assert load_config(tmp_path / "saved.py").to_dict() == config.to_dict()
