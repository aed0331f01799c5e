"""Fixtures that several folders of tests share."""

import signal
from pathlib import Path

import numpy as np
import pytest
import setuptools  # noqa: F401 - after an import of pip it can not be, and torch.compile needs it
from hypothesis import settings

from opensora.media.encode import write_video

settings.register_profile("untimed", deadline=None)  # machines are busy
settings.load_profile("untimed")

TESTS = Path(__file__).parent
# a shell starts `make test &` with the keyboard ignored, and every process under test inherits that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# what these test depends on arithmetic or on a codec; `make matrix` runs them at every corner
NUMERIC = (
    *(f"contracts/test_{name}.py" for name in ("metrics", "models", "schedulers", "scorers")),
    *(f"unit/acceleration/test_{name}.py" for name in ("muon", "optimizer", "plugins")),
    "unit/acceleration/test_precision.py",
    *(f"unit/{name}" for name in ("buckets", "cli", "curation", "datasets", "demo", "encoders")),
    *(f"unit/{name}" for name in ("evaluation", "media", "models", "plans", "precompute")),
    *(f"unit/{name}" for name in ("sampling", "schedulers", "stores", "training")),
)

# folders of files that take minutes, whole runs and trainings of several processes among them
LONG = tuple(
    TESTS / name
    for name in ("workflow", "hostile/faults", "unit/training", "unit/models/layers", "unit/cli")
)

TINY_COLOURS = ((200, 40, 40), (40, 160, 60), (50, 60, 200))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the numeric tests by their folder, and let long files come first.

    Tests that run side by side by file end together where short files are left for the end.
    """
    for item in items:
        if any(item.path.is_relative_to(TESTS / name) for name in NUMERIC):
            item.add_marker(pytest.mark.numeric)
    items.sort(key=_place_of)  # stable


def _place_of(item: pytest.Item) -> int:
    found = (place for place, folder in enumerate(LONG) if item.path.is_relative_to(folder))
    return next(found, len(LONG))


def tiny_frames(height: int = 40, width: int = 64, scene_frames: int = 16) -> np.ndarray:
    """Three plain scenes with a white square that moves one pixel a frame to the right.

    Returns:
        uint8 [3 * scene_frames, height, width, 3]; cuts at scene_frames and 2 * scene_frames.
    """
    frames = np.zeros((3 * scene_frames, height, width, 3), np.uint8)
    for k, colour in enumerate(TINY_COLOURS):
        for t in range(scene_frames):
            frame = frames[k * scene_frames + t]
            frame[:] = colour
            frame[10:22, 8 + t : 20 + t] = 255
    return frames


@pytest.fixture(scope="session")
def tiny_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of `tiny_frames` at 8 frames a second: three scenes of two seconds."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.mp4"
    write_video(path, tiny_frames(), 8)
    return path


# captioning models with random weights
CAPTION_WORDS = ["a", "red", "circle", "moves", "describe", "what", "happens"]
TINY_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
TINY_CHAT = (
    "{% for message in messages %}user : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %} answer :"
)


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioning model without a chat: it continues a sentence about one picture."""
    import torch
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("blip")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *CAPTION_WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    text = {
        **{name: TINY_VISION[name] for name in list(TINY_VISION)[:4]},
        **{"vocab_size": len(vocabulary), "encoder_hidden_size": 16, "projection_dim": 8},
        **{"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0},
    }
    torch.manual_seed(0)
    config = BlipConfig(text_config=text, vision_config=TINY_VISION, projection_dim=8)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(images, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioning chat model that sees any number of pictures."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("llava")
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "user", "answer", ":", *CAPTION_WORDS]
    tokens = Tokenizer(
        models.WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        **{"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        additional_special_tokens=["<image>"],
    )
    text = {
        **{name: TINY_VISION[name] for name in list(TINY_VISION)[:4]},
        **{"model_type": "llama", "vocab_size": len(vocabulary), "num_key_value_heads": 2},
        **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    }
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=text,
        vision_config={"model_type": "clip_vision_model", "projection_dim": 8, **TINY_VISION},
        image_token_index=4,
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    LlavaProcessor(
        CLIPImageProcessor(size=size, crop_size=size),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TINY_CHAT,
    ).save_pretrained(folder)
    return folder
