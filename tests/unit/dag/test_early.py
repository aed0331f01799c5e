"""What a run would meet hours later is said before its first job."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import opensora.dag.early as early
from opensora.config.latent_grid import LatentGrid
from opensora.core.errors import ConfigError
from opensora.dag.early import (
    check_curation,
    check_deeply,
    check_kinds,
    check_milestones,
    check_prompts,
    check_sample_size,
    read_workflow_config,
)
from opensora.dag.settings import check_workflow_config

REPOSITORY = Path(__file__).parents[3]
GRID = LatentGrid((4, 8, 8), 4)


@pytest.fixture
def config() -> dict[str, Any]:
    found = read_workflow_config(REPOSITORY / "configs/workflow/test.yaml")
    check_workflow_config(found, REPOSITORY / "workflow/schemas/config.schema.yaml")
    return found


def test_configs_of_the_other_kind() -> None:
    check_kinds({"a.py": {"lr": 1.0}}, "s.py", {"save_dir": "x"})
    with pytest.raises(ConfigError, match=r"sample\.config: s\.py is a training config.*epochs"):
        check_kinds({}, "s.py", {"epochs": 1})
    with pytest.raises(ConfigError, match=r"a\.py is a sampling config, for it has prompt_path"):
        check_kinds({"a.py": {"prompt_path": "x"}}, "s.py", {})


def test_milestones_that_training_never_comes_to() -> None:
    stage = {"name": "one", "milestones": [5, 10], "config": "a.py"}
    check_milestones(stage, {"num_steps": 11})
    check_milestones(stage, {"num_steps": None})
    with pytest.raises(ConfigError, match="milestone 10 is not before num_steps 10"):
        check_milestones(stage, {"num_steps": 10})


def test_samples_that_the_autoencoder_can_not_make() -> None:
    check_sample_size({"num_frames": 9, "image_size": (32, 32)}, GRID, "s.py")
    with pytest.raises(ConfigError, match=r"10 frames.*use 9 or 13"):
        check_sample_size({"num_frames": 10, "image_size": (32, 32)}, GRID, "s.py")
    with pytest.raises(ConfigError, match="image_size is 32"):
        check_sample_size({"num_frames": 9, "image_size": 32}, GRID, "s.py")


def test_prompts_that_are_none(tmp_path: Path) -> None:
    check_prompts(None)
    check_prompts(str(tmp_path / "later.txt"))
    with pytest.raises(ConfigError, match="is no file"):
        check_prompts(str(tmp_path))
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ConfigError, match=r"empty\.txt is empty"):
        check_prompts(str(tmp_path / "empty.txt"))


CHANGES: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda c: c["clips"].update(min_s=5, max_s=2), "min_s 5 is above max_s 2"),
    (lambda c: c["scenes"].update(detector="none", threshold=3), "threshold 3 has no effect"),
    (lambda c: c["captions"].update(model="m"), "captions: model has no effect beside"),
    (lambda c: c.update(prefer="flow"), "prefer 'flow' has no effect"),
    (lambda c: c.update(scorers=["technical", "aesthetic"]), "aesthetic needs its weights"),
    (
        lambda c: c.update(scorers=["technical"], scorer_options={"flow": {"raft": "r"}}),
        "scorer_options.flow has no effect",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), CHANGES)
def test_curation_that_can_not_be_meant(
    config: dict[str, Any], change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    check_curation(config)
    change(config)
    with pytest.raises(ConfigError, match=sentence):
        check_curation(config)


def test_a_workflow_config_that_is_none(tmp_path: Path) -> None:
    for content in (b"", b"- 1\n", b"a: [1\n", b"\xff\xfe\x00"):
        file = tmp_path / "c.yaml"
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"c\.yaml: "):
            read_workflow_config(file)
    with pytest.raises(ConfigError, match="can not be read"):
        read_workflow_config(tmp_path)


def test_a_content_is_asked_about_once(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def run(words: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        asked.append(yaml.safe_load(Path(words[4]).read_text()))
        code = 2 if asked[-1]["seed"] == 7 else 0
        return subprocess.CompletedProcess(words, code, "", "x\nopensora check: a sentence\n")

    monkeypatch.setattr(early.subprocess, "run", run)
    for _ in range(2):
        check_deeply(config, [{"lr": 1}], tmp_path, tmp_path / "run")
    assert len(asked) == 1
    check_deeply(config, [{"lr": 2}], tmp_path, tmp_path / "run")
    assert len(asked) == 2
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"^a sentence$"):
            check_deeply({**config, "seed": 7}, [], tmp_path, tmp_path / "run")
    assert len(asked) == 4
