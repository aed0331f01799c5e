"""The way of weights to a hub, against one that stands on this machine."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from opensora.core.errors import ConfigError, PassingError
from opensora.core.hub import MODEL, check_push, push_folder
from tests.hub_server import Hub, hub_here

TOKEN = "hf_secret_0123"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_here(monkeypatch, TOKEN) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "samples").mkdir()
    (tmp_path / "README.md").write_text("---\nlicense: other\n---\n")
    (tmp_path / "samples/a.json").write_text("{}")
    (tmp_path / "ema.safetensors").write_bytes(b"weights")
    return tmp_path


def test_all_of_a_folder_goes_to_a_private_repository(hub: Hub, folder: Path) -> None:
    check_push(hub.name)
    address = push_folder(folder, hub.name, kind=MODEL, message="weights")
    assert address == f"{hub.address}/{hub.name}/commit/1"
    created = next(body[0] for path, _, _, body in hub.seen if path == "/api/repos/create")
    assert created["visibility"] == "private"
    assert created.get("type", "model") == "model"
    commit = next(body for path, _, _, body in hub.seen if path.endswith("/commit/main"))
    sent = {line["value"]["path"] for line in commit if line["key"] in ("file", "lfsFile")}
    assert sent == {"README.md", "samples/a.json", "ema.safetensors"}
    assert b"weights" in hub.files.values()


def test_no_way_to_a_hub_is_one_sentence(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PassingError, match=r"the hub did not take it .*is whole") as error:
        push_folder(folder, hub.name, kind=MODEL, message="weights")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("balls", "expected YOUR_NAME/NAME"), ("me/../balls", "is no name of a repository")],
)
def test_a_name_that_is_none_is_said_first(
    name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match=sentence):
        check_push(name)
