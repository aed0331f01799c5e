"""A model trains on the kind of text that its stores hold, and on no other."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from opensora.config.load import load_config
from opensora.core.errors import ConfigError
from opensora.models.text_encoder import ClassEncoder
from opensora.precompute.encode_captions import encode_captions
from opensora.precompute.text_encoding import TextEncoding
from opensora.stores.embeddings import EmbeddingStore
from opensora.training import loop

from .conftest import TEXT, run

DIT = {"type": "DiT", "patch_size": (1, 2, 2), "hidden_size": 24, "depth": 1, "num_heads": 2}


@pytest.fixture
def labelled(stores: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The session's stores, with class labels in the place of embeddings."""
    ids = EmbeddingStore(stores["embeddings"]).rows["id"]
    manifest = pd.DataFrame({"id": ids, "text": [str(k % 3) for k in range(len(ids))]})
    encode_captions(
        *(manifest, tmp_path / "labels/0000.parquet", tmp_path / "store"),
        TextEncoding(kind="classes", num_classes=3),
        lambda: ClassEncoder(3),
        encoder="",
    )
    return {**stores, "embeddings": str(tmp_path / "labels")}


def test_labels_reach_the_model_as_whole_numbers(make_config, labelled, monkeypatch):
    seen = []
    train_step = loop.train_step

    def step(run, number, position, batch, **keywords):
        seen.append(dict(zip(batch["ids"], batch["y"], strict=True)))
        return train_step(run, number, position, batch, **keywords)

    monkeypatch.setattr(loop, "train_step", step)
    dataset = {"type": "LatentDataset", **labelled}
    config = make_config(
        model={**DIT, "condition": "label_3"}, dataset=dataset, optimizer={"type": "adamw"}, lr=1e-3
    )
    run(config)
    store = EmbeddingStore(labelled["embeddings"])
    for name, label in ((name, label) for batch in seen for name, label in batch.items()):
        assert label.dtype == torch.int64
        assert label.shape == ()
        assert int(label) == int(store.get(name))
    saved = load_config(Path(config.outputs) / "config.py")
    assert "caption_channels" not in saved.model
    assert saved.encoders.text_encoder["num_classes"] == 3


@pytest.mark.parametrize(
    ("model", "asked", "sentence"),
    [
        ({**DIT, "condition": "label_4"}, None, "is 'label_4' .* those of 'classes', .*'label_3'"),
        (DIT, None, "model.condition is 'text' and the embeddings are those of 'classes'"),
        (DIT, "clip", "text_encoder.type is 'clip' and the embeddings are those of 'classes'"),
    ],
)
def test_labels_are_for_models_of_as_many_classes(make_config, labelled, model, asked, sentence):
    encoder = None if asked is None else {"type": asked}
    dataset = {"type": "LatentDataset", **labelled}
    with pytest.raises(ConfigError, match=sentence) as caught:
        run(make_config(model=model, dataset=dataset, text_encoder=encoder))
    assert "\n" not in str(caught.value)


def test_a_store_of_another_type_than_the_config_names_is_refused(make_config):
    with pytest.raises(ConfigError, match=r"'clip' and the embeddings .* 't5'.*--type clip"):
        run(make_config(text_encoder={"type": "clip"}))
    with pytest.raises(ConfigError, match=r"'label_3' and the embeddings are those of 't5'"):
        run(make_config(model={**DIT, "condition": "label_3"}))
    assert TEXT["type"] == "t5"
    run(make_config(text_encoder={"type": "t5", "from_pretrained": "elsewhere"}, num_steps=1))
