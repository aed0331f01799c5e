"""CLIPs of others: towers, pictures and words are read as open_clip itself reads them."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from opensora.core.errors import CheckpointError
from opensora.models.clip_model import load_clip
from opensora.models.text_encoder.clip import ClipTextEncoder

WORDS = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "red": 4, "circle": 5, "dog": 6}
OWN_VISION = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
SIGLIP = {
    "embed_dim": 64,  # the width of the picture tower, which has no projection
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map"}
    | {"timm_proj": "none", "timm_model_pretrained": True},
    "text_cfg": {"context_length": 8, "vocab_size": 7, "width": 16, "heads": 2, "layers": 1}
    | {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "tokenizer_kwargs": {"clean": "canonicalize"}}
    | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}
EVA = {
    "embed_dim": 16,
    "custom_text": True,
    "vision_cfg": {"image_size": 224, "timm_model_name": "eva02_tiny_patch14_224"}
    | {"timm_pool": "token", "timm_proj": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PLAIN = {
    "embed_dim": 16,
    "vision_cfg": OWN_VISION,
    "text_cfg": {"context_length": 8, "vocab_size": 7, "width": 16, "heads": 2, "layers": 1}
    | {"hf_tokenizer_name": "anybody/words"},
}


def save_words(folder):
    words = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


def save_model(folder, model, preprocess=HALF):
    folder.mkdir(exist_ok=True)
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    if model["text_cfg"].get("hf_tokenizer_name"):
        save_words(folder)
    return folder


@pytest.mark.parametrize("model", [SIGLIP, EVA, PLAIN], ids=["siglip", "eva", "plain"])
def test_embeddings_are_those_of_open_clip(tmp_path, model):
    folder = save_model(tmp_path / "clip", model)
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
    texts = ["A red, circle!", "a dog"]
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    network.eval()
    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
        expected_images = network.encode_image(pixels, normalize=True)
        expected_texts = network.encode_text(tokenizer(texts), normalize=True)
    clip = load_clip(folder)
    torch.testing.assert_close(clip.encode_images(images), expected_images)
    torch.testing.assert_close(clip.encode_texts(texts), expected_texts)
    assert clip.view == "frame"


def test_other_words_are_another_model(tmp_path):
    folder = save_model(tmp_path / "clip", PLAIN)
    before = load_clip(folder).identity()
    words = json.loads((folder / "tokenizer.json").read_text())
    words["model"]["vocab"] |= {"red": 6, "dog": 4}
    (folder / "tokenizer.json").write_text(json.dumps(words))
    assert load_clip(folder).identity() != before


def changed(tmp_path, part, **fields):
    folder = save_model(tmp_path / "clip", PLAIN)
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"][part].update(fields)
    file.write_text(json.dumps(config))
    return folder


def test_what_would_be_fetched_is_refused(tmp_path):
    folder = changed(tmp_path, "text_cfg", hf_model_name="roberta-base")
    with pytest.raises(CheckpointError, match="'roberta-base', which would be fetched"):
        load_clip(folder)
    folder = changed(tmp_path, "vision_cfg", timm_model_name="hf-hub:timm/vit")
    with pytest.raises(CheckpointError, match="'hf-hub:timm/vit', which would be fetched"):
        load_clip(folder)


def test_code_beside_the_words_is_not_run(tmp_path):
    folder = changed(tmp_path, "text_cfg", tokenizer_kwargs={"trust_remote_code": True})
    mark = tmp_path / "ran"
    (folder / "canary.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Words: pass\n")
    file = folder / "tokenizer_config.json"
    words = json.loads(file.read_text())
    words |= {"auto_map": {"AutoTokenizer": ["canary.Words", None]}, "tokenizer_class": "Words"}
    file.write_text(json.dumps(words))
    with pytest.raises(CheckpointError):
        load_clip(folder)
    assert not mark.exists()


def test_a_vocabulary_larger_than_the_network_is_refused(tmp_path):
    folder = changed(tmp_path, "text_cfg", vocab_size=5)
    with pytest.raises(CheckpointError, match="has tokens up to 6 and embeddings of 5"):
        load_clip(folder)


def test_as_text_encoder_only_openais_tower_is_read(tmp_path):
    folder = save_model(tmp_path / "clip", {**EVA, "vision_cfg": OWN_VISION})
    with pytest.raises(CheckpointError, match="has custom_text True, and as text encoder"):
        ClipTextEncoder(str(folder), model_max_length=8)
