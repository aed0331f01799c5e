"""What `opensora check` says of a stage before there is anything to train on."""

from pathlib import Path
from typing import Any

import pytest

from opensora.core.errors import ConfigError
from opensora.training.ready import Encoded, check_stage
from tests import tiny_open

TEXTS = Encoded(texts="umt5", given=None, has_pictures=False)
FIRST = Encoded(texts="umt5", given="first", has_pictures=False)
CLIP = Encoded(texts="umt5", given="first", has_pictures=True)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transformers of text to video, of given frames with CLIP, and two of given frames alone."""
    root = tmp_path_factory.mktemp("ready")
    tiny_open.wan_pictures(root / "clip")
    tiny_open.wan_pictures(root / "two", reads_pictures=False, two=True)
    return root


def check(
    folder: Path, name: str, encoded: Encoded, *, online: bool = False, **fields: Any
) -> None:
    model = {"type": "diffusers", "from_pretrained": str(folder / name), **fields.pop("model", {})}
    lines = {"bucket_config": {"32x32": {9: (1.0, 2)}}, "scheduler": {"type": "flow-match"}}
    lines |= {"model": model, "optimizer": {"type": "adamw"}, "dtype": "fp32", **fields}
    path = folder / "stage.py"
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in lines.items()))
    check_stage(path, encoded, online=online, continues=False, gpus=0)


def test_what_a_model_reads_is_what_is_encoded_for_it(folder):
    check(folder, "clip-text", TEXTS)
    check(folder, "clip-text", TEXTS, online=True)
    check(folder, "clip", CLIP)
    check(folder, "two", FIRST, model={"part": "transformer_2"})
    lora = {"rank": 2, "targets": ["attn1.to_q"]}
    check(folder, "clip-text", TEXTS, lora=lora, mask_ratios={"image_head": 0.5})


@pytest.mark.parametrize(
    ("name", "encoded", "more", "said"),
    [
        ("clip", CLIP, {"online": True}, "which training from videos does not encode"),
        ("two", FIRST, {"online": True, "model": {"part": "transformer"}}, "from the stores"),
        ("clip", TEXTS, {}, r"encode with --given first \(encode.given of a workflow\)"),
        ("clip", FIRST, {}, r"encode with --image-encoder \(encode.image_encoder"),
        ("clip-text", FIRST, {}, "reads none; encode without --given"),
        ("clip-text", Encoded(texts="t5", given=None, has_pictures=False), {}, "reads texts of"),
        ("two", FIRST, {}, "two transformers"),
        ("two", FIRST, {"model": {"part": "third"}}, "part"),
        ("clip-text", TEXTS, {"lora": {"rank": 2, "targets": ["qkv"]}}, "lora.targets"),
        ("clip", CLIP, {"mask_ratios": {"image_head": 0.5}}, "mask_ratios"),
        ("none", TEXTS, {}, "does not exist"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder, name, encoded, more, said):
    with pytest.raises(ConfigError, match=said) as caught:
        check(folder, name, encoded, **more)
    assert str(caught.value).startswith(f"{folder / 'stage.py'}: ")
    assert "\n" not in str(caught.value)


def test_a_hub_name_that_was_never_downloaded_says_nothing_yet(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    check(folder, "x", CLIP, model={"from_pretrained": "nobody/has-this-model"}, online=True)
