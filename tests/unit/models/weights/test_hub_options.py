"""Where hub names are looked up: `cache_dir` and `local_files_only` of every part."""

import pytest

from opensora.config.registry import MODELS, build_module, check_fields, registered_names
from opensora.core.errors import CheckpointError
from opensora.models.weights import folders

NAME = "some-lab/some-weights"
FROM_THE_HUB = [
    name
    for name in registered_names(MODELS)
    if "local_files_only" in check_fields({"type": name}, MODELS)
]


def test_all_encoders_take_them() -> None:
    assert {"t5", "clip", "VideoAutoencoderKL"} <= set(FROM_THE_HUB)
    assert "VideoAutoencoderKLTemporalDecoder" in FROM_THE_HUB


@pytest.mark.parametrize("kind", FROM_THE_HUB)
def test_they_reach_the_hub(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def download(name: str, **options: object) -> str:
        asked.update({"name": name, **options})
        raise FileNotFoundError(name)

    monkeypatch.setattr(folders, "snapshot_download", download)
    fields = {"type": kind, "from_pretrained": NAME}
    with pytest.raises(CheckpointError, match="is in the hub cache"):
        build_module({**fields, "cache_dir": "cache", "local_files_only": True}, MODELS)
    assert (asked["name"], asked["cache_dir"], asked["local_files_only"]) == (NAME, "cache", True)
    with pytest.raises(CheckpointError, match="can be fetched from here"):
        build_module(fields, MODELS)
    assert (asked["cache_dir"], asked["local_files_only"]) == (None, False)
