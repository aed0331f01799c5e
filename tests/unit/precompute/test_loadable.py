"""Folders of encoders that would not load are told before a job meets them."""

import shutil
from pathlib import Path

import pytest

from opensora.core.errors import CheckpointError
from opensora.models.clip_model import ClipModel, save_clip
from opensora.models.weights import pretrained
from opensora.precompute.loadable import examine_encoder

CLIP = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }
}


@pytest.fixture(scope="module")
def encoders(video_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vae, a t5, the text half of a clip, and a whole one of open_clip."""
    folder = tmp_path_factory.mktemp("encoders")
    for name in ("vae", "t5"):
        shutil.copytree(video_world / name, folder / name)
    shutil.copytree(video_world / "clip", folder / "clip_text")
    save_clip(folder / "clip", ClipModel(CLIP))
    return folder


def test_whole_folders_are_described(encoders: Path) -> None:
    assert examine_encoder("vae", f"{encoders}/vae") == "1 weight file"
    found = examine_encoder("text_encoder", f"{encoders}/t5", reads_texts="t5")
    assert found == "1 weight file, ByT5Tokenizer"
    assert "CLIP's own words" in examine_encoder("clip", f"{encoders}/clip")
    text = examine_encoder("text_encoder", f"{encoders}/clip_text", reads_texts="clip")
    assert text.startswith("1 weight file, CLIPTokenizer")
    assert "CLIP's" in examine_encoder("text_encoder", f"{encoders}/clip", reads_texts="clip")


def test_no_weights_are_loaded(encoders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "load_network", lambda *_, **__: pytest.fail("loaded"))
    monkeypatch.setattr("safetensors.torch.load_file", lambda *_, **__: pytest.fail("loaded"))
    for kind in ("vae", "clip"):
        examine_encoder(kind, f"{encoders}/{kind}")


@pytest.mark.parametrize(
    ("kind", "source", "texts", "victim", "message"),
    [
        ("vae", "vae", "", "config.json", "config.json is missing"),
        ("text_encoder", "t5", "t5", "tokenizer_config.json", "save the tokenizer beside the wei"),
        ("clip", "clip", "", "open_clip_model.safetensors", "open_clip_model.safetensors is miss"),
    ],
)
def test_a_missing_file_is_named(
    kind: str, source: str, texts: str, victim: str, message: str, encoders: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(encoders / source, tmp_path / "copy")
    (folder / victim).unlink()
    with pytest.raises(CheckpointError, match=message):
        examine_encoder(kind, str(folder), reads_texts=texts)


def test_a_cut_weight_file_is_named(encoders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encoders / "vae", tmp_path / "copy")
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{file.name}: cut off or damaged"):
        examine_encoder("vae", str(folder))


def test_a_hub_name_that_is_not_in_the_cache(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="run `hf download no/such-model` here"):
        examine_encoder("vae", "no/such-model")
