"""Harm done to a store's files is made good by the next run of the encoder."""

import os

import pandas as pd
import pytest
import torch

from opensora.core.errors import StoreError
from opensora.precompute.encode_captions import encode_captions
from opensora.precompute.encode_videos import VideoEncoding, encode_videos
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.latents import LatentStore

from .patch_autoencoder import PatchAutoencoder

FP32 = VideoEncoding(dtype="fp32", posterior="sample")
HARMS = {
    "cut": lambda data: data[:-5],
    "data": lambda data: data[:-5] + bytes([data[-5] ^ 8]) + data[-4:],
    "header": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "empty": lambda data: b"",
    "missing": None,
}


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def harm(path, how):
    if HARMS[how] is None:
        path.unlink()
    else:
        path.write_bytes(HARMS[how](path.read_bytes()))


@pytest.fixture(scope="module")
def latents(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "latents"
    encode_videos(world.manifest, world.plan, PatchAutoencoder(0.1), folder, FP32)
    return contents(folder)


@pytest.mark.parametrize("how", HARMS)
def test_a_damaged_latent_file_is_named_and_made_anew_to_the_same_bytes(
    world, latents, tmp_path, how
):
    folder = tmp_path / "latents"
    folder.mkdir()
    for name, data in latents.items():
        (folder / name).write_bytes(data)
    victim, other = (folder / name for name in sorted(latents) if name.endswith(".safetensors"))
    before = other.stat().st_mtime_ns
    harm(victim, how)
    with pytest.raises(StoreError, match=r"damaged \(.*run `opensora encode-videos` for") as error:
        LatentStore(folder).verify()
    assert victim.name in str(error.value)
    assert "\n" not in str(error.value)
    vae = PatchAutoencoder(0.1)
    counts = encode_videos(world.manifest, world.plan, vae, folder, FP32)
    assert counts["kept"] == 1
    assert contents(folder) == latents
    assert (folder / other.name).stat().st_mtime_ns == before
    assert LatentStore(folder).verify() > 0


class Counting:
    """A text encoder of one token per letter: [letter code, place]."""

    output_dim, model_max_length = 2, 8

    def __init__(self) -> None:
        self.texts: list[str] = []

    def identity(self):
        return {"type": "counting"}

    def encode(self, texts):
        self.texts += texts
        y, mask = torch.zeros(len(texts), 1, 8, 2), torch.zeros(len(texts), 8, dtype=torch.int64)
        for row, text in enumerate(texts):
            for place, letter in enumerate(text):
                y[row, 0, place] = torch.tensor([float(ord(letter)), place + 1.0])
                mask[row, place] = 1
        return {"y": y, "mask": mask}


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("int8", [False, True])
def test_a_damaged_caption_file_is_named_and_made_anew_to_the_same_bytes(tmp_path, how, int8):
    manifest = pd.DataFrame({"id": ["c0", "c1", "c2"], "text": ["abc", "de", "abc"]})
    folder = tmp_path / "embeddings"
    encode_captions(manifest, Counting(), folder, dtype="fp32", int8=int8)
    good = contents(folder)
    harm(folder / "texts-00000.safetensors", how)
    with pytest.raises(StoreError, match=r"texts-00000\.safetensors: damaged .*encode-captions"):
        EmbeddingStore(folder).verify()
    assert encode_captions(manifest, Counting(), folder, dtype="fp32", int8=int8)["kept"] == 0
    assert contents(folder) == good


def test_an_unreadable_index_is_named_and_made_anew(world, latents, tmp_path):
    folder = tmp_path / "latents"
    folder.mkdir()
    for name, data in latents.items():
        (folder / name).write_bytes(data)
    os.truncate(folder / "index.parquet", 100)
    with pytest.raises(StoreError, match=r"index\.parquet: not a readable store index; run"):
        LatentStore(folder)
    vae = PatchAutoencoder(0.1)
    assert encode_videos(world.manifest, world.plan, vae, folder, FP32)["kept"] == 2
    assert (vae.calls, contents(folder)) == ([], latents)
