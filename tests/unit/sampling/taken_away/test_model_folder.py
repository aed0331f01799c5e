"""A folder that holds all of a model: it samples alone, and names no place of its machine."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from opensora.cli.main import main

CARD = "# Data card\n\n9 video clips.\n\n## Licences\n\n| licence | clips |\n|---|---|\n"


@pytest.fixture(name="samples")
def _samples(config_file: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    words = ["--save-dir", str(folder), "--device", "cpu", "--display-size", "16"]
    assert main(["sample", str(config_file), *words]) == 0
    return folder


@pytest.fixture(name="export")
def _export(trained: Any, samples: Path, tmp_path: Path) -> Any:
    def call(*words: Any) -> tuple[int, Path]:
        target = tmp_path / "model"
        named = ["--samples", str(samples), "--output", str(target)]
        outputs = str(trained.root / "stage1")
        return main(["export-weights", outputs, *named, *map(str, words)]), target

    return call


def test_the_folder_samples_alone_and_makes_the_same_bytes(
    export: Any, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, target = export()
    assert code == 0
    elsewhere = tmp_path / "elsewhere"
    shutil.move(target, elsewhere)
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "elsewhere", "--device", "cpu", "--save-dir", "again"]) == 0
    made = sorted(path for path in samples.iterdir() if path.suffix == ".mp4")
    assert len(made) == 2
    for path in made:
        assert (elsewhere / "samples" / path.name).read_bytes() == path.read_bytes()
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    # options win, as over a config; its prompts give way to others
    words = ["--prompt", "a green dot", "--num-frames", "1", "--save-dir", "one"]
    assert main(["sample", "elsewhere", "--device", "cpu", *words]) == 0
    assert len(list((tmp_path / "one").glob("*.png"))) == 1
    (tmp_path / "prompts.txt").write_text("a green dot\na red dot\n")
    words = ["--prompt-path", "prompts.txt", "--save-dir", "two"]
    assert main(["sample", "elsewhere", "--device", "cpu", *words]) == 0
    assert len(list((tmp_path / "two").glob("*.mp4"))) == 2


def test_weights_that_changed_since_training_are_not_handed_on(
    export: Any, trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = trained.root / "stage1/config.py"
    sound = config.read_text()
    try:
        config.write_text(f"{sound}written = {{'ema.safetensors': '{'0' * 64}'}}\n")
        code, target = export()
    finally:
        config.write_text(sound)
    assert code == 2
    assert "ema.safetensors: is not what training wrote" in capsys.readouterr().err
    assert not target.exists()


def test_no_file_names_a_place_of_the_machine(export: Any, tmp_path: Path, trained: Any) -> None:
    code, target = export()
    assert code == 0
    texts = [path for path in target.rglob("*") if path.suffix in (".md", ".json", ".py")]
    assert {"README.md", "sample.json", "config.py"} <= {path.name for path in texts}
    for path in texts:
        assert str(tmp_path) not in path.read_text()
        assert str(trained.root) not in path.read_text()
    names = {path.relative_to(target).parts[0] for path in target.rglob("*")}
    assert names == {
        *("README.md", "sample.json", "config.py", "ema.safetensors"),
        *("vae", "text_encoder", "samples"),
    }


def test_the_card_says_what_it_is_in_words_and_for_hubs(export: Any, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text(CARD)
    code, target = export("--data-card", tmp_path / "card.md", "--licence", "apache-2.0")
    assert code == 0
    _, head, text = (target / "README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(head)
    assert fields["license"] == "apache-2.0"
    assert (fields["pipeline_tag"], fields["tags"]) == (
        "text-to-video",
        ["text-to-video", "opensora"],
    )
    assert "| a red circle moves left | 42 | [a_red_circle" in text
    assert "'type': 'STDiT2'" in text
    assert "\nlr = 0.001\n" in text
    assert "| vae | in this folder | not stated |" in text
    assert "\n## Data\n\n9 video clips.\n\n### Licences\n" in text


def test_a_folder_of_others_does_not_say_where_files_go(
    export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, target = export()
    assert code == 0
    start = json.loads((target / "sample.json").read_text())
    away = {"save_dir": str(tmp_path / "taken"), "prompt_path": "/etc/hostname"}
    away["model"] = {"from_pretrained": str(tmp_path / "none")}
    (target / "sample.json").write_text(json.dumps({**start, **away}))
    monkeypatch.chdir(tmp_path)
    assert main(["sample", str(target), "--device", "cpu"]) == 0
    assert not (tmp_path / "taken").exists()
    assert len(list((tmp_path / "samples").glob("*.mp4"))) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("samples", "samples of these weights say with which encoders"),
        ("weights", "whose weights are others than"),
        ("taken", "is there already; remove it or name another"),
        ("outputs", "config.py is missing; give the outputs of a training"),
        ("table", "has no samples.csv; give the folder that `opensora sample` made"),
        ("pipeline", "--pipeline is for models of diffusers"),
        ("card", "--data-card nowhere.md: can not be read"),
        ("start", "give a folder of `opensora export-weights`"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    change: str,
    sentence: str,
    trained: Any,
    samples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs, target = tmp_path / "stage1", tmp_path / "model"
    shutil.copytree(trained.root / "stage1", outputs)
    words = ["--samples", str(samples), "--output", str(target)]
    if change == "samples":
        words = words[2:]
    elif change == "weights":
        record = next(samples.glob("a_*.json"))
        record.write_text(
            record.read_text().replace('"checkpoint_sha256": "', '"checkpoint_sha256": "x')
        )
        for other in samples.glob("a_*.json"):
            other.write_text(record.read_text())
    elif change == "taken":
        target.mkdir()
        (target / "mine.txt").write_text("keep")
    elif change == "outputs":
        (outputs / "config.py").unlink()
    elif change == "table":
        (samples / "samples.csv").unlink()
    elif change == "pipeline":
        words += ["--pipeline", str(tmp_path)]
    elif change == "card":
        words += ["--data-card", "nowhere.md"]
    capsys.readouterr()
    given = ["export-weights", str(outputs), *words]
    if change == "start":
        given = ["sample", str(outputs), "--device", "cpu"]
    assert main(given) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("opensora ")]
    assert len(said) == 1
    assert sentence in said[0]
    assert change == "taken" or not target.exists()
