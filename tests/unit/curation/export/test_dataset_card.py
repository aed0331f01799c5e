"""README.md of a data set, and its way to a hub that stands on this machine."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard

from opensora.cli.main import main
from opensora.core.errors import ConfigError, PassingError
from opensora.core.hub import DATASET, check_push, push_folder
from opensora.curation.export.dataset_card import (
    card_beside,
    dataset_card,
    licences_of,
    size_category,
)
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table
from tests.hub_server import Hub, hub_here

TOKEN = "hf_secret_0123"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_here(monkeypatch, TOKEN) as hub:
        yield hub


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A run's manifest of three clips, with a data card beside it."""
    rows = []
    for k, split in enumerate(["train", "test", "train"]):
        clip = tmp_path / f"clips/{k}.mp4"
        clip.parent.mkdir(exist_ok=True)
        clip.write_bytes(b"clip" * (k + 1))
        given = dict.fromkeys(MANIFEST.columns, 1)
        given |= {"id": f"c{k}", "path": str(clip), "text": "a box", "split": split}
        rows.append(given | {"source": f"/home/me/{k}.mp4", "sha256": "0", "licence": "CC BY 4.0"})
    write_table(pd.DataFrame(rows).assign(num_frames=24), tmp_path / "run/manifest.csv", MANIFEST)
    (tmp_path / "run/data_card.md").write_text("# Data card\n\n3 clips | of much\n")
    return tmp_path / "run/manifest.csv"


def test_the_head_is_what_a_hub_reads() -> None:
    table = pd.DataFrame({"split": ["train", "test", "validation"], "licence": ["CC0"] * 3})
    text = dataset_card(table, "# Data card\n", {"train": "train-*.tar"})
    card = DatasetCard(text)  # checks the head
    assert card.data.license == ["cc0-1.0"]
    assert card.data.task_categories == ["text-to-video"]
    assert card.data.size_categories == ["n<1K"]
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "train-*.tar"}]
    assert card.text.strip() == "# Data card"


def test_the_card_of_a_run_says_how_much_its_sources_count(manifest: Path) -> None:
    assert card_beside(manifest) == "# Data card\n\n3 clips | of much\n"
    config = manifest.with_name("config.yaml")
    sources = [{"name": "web", "weight": 3.0}, {"name": "own", "repeat": 2}, {"name": "old"}]
    config.write_text(yaml.safe_dump({"run": "mine", "sources": sources}))
    assert card_beside(manifest).endswith(
        "\n## Weights in training\n\n| source | weight | repeat | max_share |\n|---|---|---|---|\n"
        "| web | 3 |  |  |\n| own |  | 2 |  |\n"
    )
    config.write_text("sources: 3\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: is no config that a run wrote"):
        card_beside(manifest)
    manifest.with_name("data_card.md").unlink()
    assert card_beside(manifest) == "# Video clips\n"


def test_licences_have_the_names_of_the_hub() -> None:
    def of(*given: str | None) -> list[str]:
        return licences_of(pd.DataFrame({"licence": given}))

    assert of("CC BY 4.0", "cc-by-4.0", "CC_BY-4.0") == ["cc-by-4.0"]
    assert of("CC0", "Apache 2.0", "mit") == ["apache-2.0", "cc0-1.0", "mit"]
    assert of("mine: | x\n---", None) == ["other", "unknown"]  # nothing of it stands in the head
    assert licences_of(pd.DataFrame({"id": [1]})) == ["unknown"]


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        *((0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K")),
        *((100_000, "100K<n<1M"), (5 * 10**6, "1M<n<10M"), (3 * 10**11, "100B<n<1T")),
        (2 * 10**12, "n>1T"),
    ],
)
def test_sizes_have_the_words_of_the_hub(rows: int, word: str) -> None:
    assert size_category(rows) == word


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "videofolder"])
def test_a_set_goes_to_a_private_repository(
    layout: str,
    hub: Hub,
    manifest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = ["export", "--manifest", str(manifest), "--format", layout, "--output", str(out)]
    assert main([*words, "--push", hub.name]) == 0
    said = "".join(capsys.readouterr())
    assert f"{hub.address}/{hub.name}/commit/1" in said
    assert TOKEN not in said
    assert {token for _, token, way, _ in hub.seen if way == "POST"} == {f"Bearer {TOKEN}"}
    created = next(body[0] for path, _, _, body in hub.seen if path == "/api/repos/create")
    assert (created["type"], created["visibility"]) == ("dataset", "private")
    commit = next(body for path, _, _, body in hub.seen if path.endswith("/commit/main"))
    sent = {line["value"]["path"] for line in commit if line["key"] in ("file", "lfsFile")}
    here = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert sent == here
    assert "README.md" in here
    head, text = (out / "README.md").read_text().split("---\n")[1:]
    assert text.strip().startswith("# Data card")
    fields = yaml.safe_load(head)
    assert fields["license"] == ["cc-by-4.0"]
    patterns = {each["split"]: each["path"] for each in fields["configs"][0]["data_files"]}
    assert list(patterns) == ["train", "test"]
    for split, pattern in patterns.items():
        found = [path for path in out.glob(pattern) if path.suffix != ".jsonl"]
        assert len(found) == ({"train": 2, "test": 1}[split] if layout == "videofolder" else 1)
    for path in out.rglob("*"):
        assert path.is_dir() or b"/home/me" not in path.read_bytes()


def test_a_hub_that_refuses_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: other\n---\n")
    hub.refuses = True
    with pytest.raises(PassingError, match=r"the hub did not take it .*is whole") as error:
        push_folder(tmp_path, hub.name, kind=DATASET, message="clips")
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "musubi"], "a hub takes clips and a card"),
        (["--format", "parquet", "--media", "none"], "a hub takes clips and a card"),
        (["--format", "parquet", "--push", "clips"], "expected YOUR_NAME/NAME"),
        (["--format", "webdataset", "--media", "none", "--push", ""], "webdataset holds the clips"),
    ],
)
def test_what_can_not_be_pushed_is_said_first(
    words: list[str],
    sentence: str,
    hub: Hub,
    manifest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    given = ["export", "--manifest", str(manifest), "--output", str(out), "--push", hub.name]
    assert main([*given, *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()
    assert hub.seen == []


def test_without_a_token_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="HF_TOKEN is not set"):
        check_push("me/clips")
    assert huggingface_hub.constants.ENDPOINT.startswith("https://")
