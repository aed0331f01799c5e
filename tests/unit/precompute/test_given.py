"""What a model is told of given frames: stored beside the latents, found, joined and checked."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from opensora.buckets.bucket import Bucket
from opensora.core.errors import ConfigError, StoreError
from opensora.precompute.upkeep.join_files import join_latents
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.catalogue import Catalogue
from opensora.stores.files import read_record
from opensora.stores.keys import part_name
from opensora.stores.latents import LatentStore
from opensora.stores.memory import BatchMemory

from .encoding import FP32, data_files, encode
from .patch_autoencoder import PatchAutoencoder

VIDEO = Bucket("24px", 4, "1.00")
FIRST, BOTH = replace(FP32, given="first"), replace(FP32, given="first_last", image_encoder="hash")


class Patches(PatchAutoencoder):
    """The mean needs no generator, as that of real ones."""

    def encode(self, x: torch.Tensor, *, generator: Any = None, posterior: str) -> torch.Tensor:
        return super().encode(x, generator=generator, posterior=posterior)


class Corners:
    """Stands for CLIP: the first three pixels of a frame are its tokens."""

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return frames[..., 0, :3].transpose(-1, -2)  # [B, n, 3 tokens, 3 channels]


def read(folder, run: str, names: list[str]) -> dict[str, torch.Tensor]:
    store = LatentStore(folder / run / "latents")
    return store.read([store.locate(name, VIDEO) for name in names], BatchMemory(pinned=False))


def test_given_frames_stand_beside_the_latents(world, tmp_path):
    encode(world, tmp_path, Patches(), FIRST, run="first")
    encode(world, tmp_path, Patches(), BOTH, run="both", pictures=Corners())
    names = ["c1", "c0", "c4"]
    one, other = read(tmp_path, "first", names), read(tmp_path, "both", names)
    latents = one["latents"]
    assert torch.equal(latents, other["latents"])
    grey = torch.zeros_like(latents)
    grey[:, :, 0] = latents[:, :, 0]
    assert set(one) == {"latents", "given"}
    assert torch.equal(one["given"], grey)
    grey[:, :, -1] = latents[:, :, -1]
    assert torch.equal(other["given"], grey)
    # the patches of the autoencoder hold the pixels themselves: 48 channels are c, row, column
    pixels = latents.unflatten(1, (3, 4, 4))[:, :, 0, :3, :, 0, 0]  # [B, c, x, T]
    expected = pixels[..., [0, -1]].permute(0, 3, 2, 1)  # [B, n, x, c]
    assert torch.equal(other["picture"], expected)


def test_they_have_stores_of_their_own_and_are_found_again(world, tmp_path):
    encode(world, tmp_path, Patches(), run="plain")
    assert encode(world, tmp_path, Patches(), FIRST, run="first")["encoded"] == 8
    assert encode(world, tmp_path, Patches(), FIRST, run="again")["encoded"] == 0
    assert encode(world, tmp_path, Patches(), run="plain")["encoded"] == 0
    assert len({path.parts[-3] for path in data_files(tmp_path)}) == 2
    assert LatentStore(tmp_path / "first/latents").identity["given"] == "first"


def test_files_are_joined_with_them(world, tmp_path):
    for shard in range(2):
        encode(world, tmp_path, Patches(), FIRST, shard=shard, num_shards=2)
    names = [f"c{k}" for k in range(6)]
    before = read(tmp_path, "run", names)
    folder = tmp_path / "store" / FIRST.address("hash of the encoder")
    catalogue = Catalogue(folder, part_name(0, 2))
    paths = [path for path in data_files(tmp_path) if path.name.startswith("24px_4_")]
    catalogue.find(pd.Series([key for path in paths for key in read_record(path)["keys"]]))
    files = [str(path.relative_to(folder)) for path in paths]
    join_latents(catalogue, sorted(files))
    (joined,) = (path for path in data_files(tmp_path) if len(load_file(path)["latents"]) == 6)
    tensors = load_file(joined)
    assert set(tensors) == {"latents", "given"}
    for name, value in tensors.items():
        assert sorted(map(str, value.flatten(1).tolist())) == sorted(
            map(str, before[name].flatten(1).tolist())
        )


def test_what_is_beside_is_checked_like_the_latents(world, tmp_path):
    encode(world, tmp_path, Patches(), BOTH, pictures=Corners())
    (path,) = (path for path in data_files(tmp_path) if path.name.startswith("24px_4_"))
    assert LatentStore(tmp_path / "run/latents").verify() > 0
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of the last tensor
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="the checksum of c"):
        LatentStore(tmp_path / "run/latents").verify()


def test_numbers_that_are_none_fail_the_gate(world, tmp_path):
    class Broken(Corners):
        def encode(self, frames: torch.Tensor) -> torch.Tensor:
            return super().encode(frames) / 0

    with pytest.raises(StoreError, match="NaN or infinite values"):
        encode(world, tmp_path, Patches(), BOTH, pictures=Broken())


def test_an_encoder_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="--image-encoder has no effect without --given"):
        VideoEncoding(image_encoder="hash")
