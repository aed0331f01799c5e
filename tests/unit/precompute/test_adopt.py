"""Latents and embeddings of the layout before are found again, or it is said why not."""

import shutil

import pandas as pd
import pytest
import torch
import yaml

from opensora.buckets.bucket import Bucket
from opensora.cli.main import main
from opensora.core.versions import VERSIONS
from opensora.dag.layout import require_layout
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.latents import LatentStore
from opensora.tables.io import read_table, write_table
from tests.results_folder import encode_shard, read_everything

from .old_layout import make_old


@pytest.fixture
def old(results):
    """Run `one` as the layout before left it, its clips in files that are their own; no store."""
    run = results / "one"
    manifest = read_table(run / "manifest.csv")
    make_old(run, dict(zip(manifest["id"], manifest["text"], strict=True)))
    for name in ("latents", "embeddings"):
        shutil.rmtree(results / "store" / name)
    shutil.rmtree(results / "two")
    (run / "config.yaml").write_text("run: one\nnum_shards: 1\nstages:\n- name: stage1\n")
    return run


def adopt(run, encoders, *words: str) -> int:
    folders = ["--vae", f"{encoders}/vae", "--text-encoder", f"{encoders}/t5"]
    return main(["doctor", "--adopt", str(run), *folders, "--device", "cpu", *words])


def values(run) -> dict:
    latents, texts = LatentStore(run / "latents/stage1"), EmbeddingStore(run / "embeddings")
    bucket = Bucket("24px", 4, "1.00")
    return {name: (latents.get(name, bucket).clone(), texts.get(name).clone())
            for name in latents.rows["id"]}  # fmt: skip


def test_what_is_taken_is_not_encoded_again_and_keeps_its_bytes(
    old, made_results, video_world, capsys, monkeypatch
):
    assert adopt(old, video_world) == 0
    assert "latents: 6\n  embeddings: 4\n" in capsys.readouterr().out
    assert not list((old.parent / "store").rglob("*.safetensors"))
    assert "layout" not in yaml.safe_load((old / "config.yaml").read_text())
    assert adopt(old, video_world, "--yes") == 0
    require_layout(old)
    with monkeypatch.context() as patch:
        patch.setattr("opensora.models.build.load_autoencoder", None)
        patch.setattr("opensora.precompute.texts.build_text_encoder", None)
        encode_shard(old.parent, old, video_world, 0, 1)
    before, after = values(made_results / "one"), values(old)
    assert before.keys() == after.keys()
    for name, (latent, tokens) in before.items():
        assert torch.equal(latent, after[name][0])
        assert torch.equal(tokens, after[name][1])
    assert read_everything(old, encoders=video_world) == 6
    capsys.readouterr()
    assert adopt(old, video_world, "--yes") == 0
    assert "latents: 0, 6 are there\n  embeddings: 0, 4 are there" in capsys.readouterr().out


def test_another_version_or_encoder_is_not_taken_and_said(results, video_world, capsys):
    run = results / "one"
    manifest = read_table(run / "manifest.csv")
    make_old(run, dict(zip(manifest["id"], manifest["text"], strict=True)), version=1)
    shutil.rmtree(results / "store/latents")
    shutil.rmtree(results / "store/embeddings")
    assert adopt(run, video_world, "--yes") == 0
    said = capsys.readouterr().out
    for kind, count, stage in (
        ("latents", 6, "encode_videos"),
        ("embeddings", 4, "encode_captions"),
    ):
        reason = f"encoded with version 1, today it is {VERSIONS[stage]}"
        assert f"{kind}: 0; not {count}: {reason}" in said
    assert not list((results / "store").rglob("*.safetensors"))
    require_layout(run)


def test_captions_of_the_version_before_are_equal_and_taken(results, video_world, capsys):
    run = results / "one"
    before = values(run)
    manifest = read_table(run / "manifest.csv")
    make_old(run, dict(zip(manifest["id"], manifest["text"], strict=True)), version=3)
    shutil.rmtree(results / "store/embeddings")
    assert adopt(run, video_world, "--yes") == 0
    said = capsys.readouterr().out
    assert f"encoded with version 3, today it is {VERSIONS['encode_videos']}" in said
    assert "embeddings: 4\n" in said
    encode_shard(results, run, video_world, 0, 1)
    texts = EmbeddingStore(run / "embeddings")
    assert texts.identity["version"] == VERSIONS["encode_captions"]
    assert all(torch.equal(texts.get(name), tokens) for name, (_, tokens) in before.items())


def test_clips_that_changed_or_are_cut_anew_and_damage_are_counted(old, video_world, capsys):
    manifest = read_table(old / "manifest.csv")
    manifest.loc[0, "sha256"] = "other"
    manifest.loc[1, "path"] = "results/one/clips/0000/cut.mp4"
    write_table(manifest.iloc[:5], old / "manifest.csv")
    (old / "clips/0000").mkdir()
    (old / "clips/0000/cut.mp4").touch()
    data = next((old / "latents").rglob("*.safetensors"))
    content = bytearray(data.read_bytes())
    index = pd.read_parquet(data.with_name("index.parquet"))
    victim = index[index["id"] == manifest["id"][2]]["row"].iloc[0]
    size = latent_bytes(content, len(index))
    content[len(content) - size * (len(index) - victim) + 7] ^= 8
    data.write_bytes(content)
    assert adopt(old, video_world, "--yes") == 0
    said = capsys.readouterr().out
    assert "latents: 2;" in said
    for reason in (
        "not 1: of clips that changed since",
        "not 1: of clips that are cut anew, by another version",
        f"not 1: of clips that {old}/manifest.csv lacks",
        "not 1: damaged on disk",
        "clips: 0; not 1: cut by an earlier version, cut anew",
    ):
        assert reason in said
    encode_shard(old.parent, old, video_world, 0, 1)
    assert len(LatentStore(old / "latents/stage1")) == 6


def latent_bytes(content: bytes, rows: int) -> int:
    header = int.from_bytes(content[:8], "little")
    return (len(content) - 8 - header) // rows


def test_a_folder_that_is_none_and_a_lost_encoder_are_one_sentence(old, capsys):
    assert main(["doctor", "--adopt", str(old / "nothing"), "--yes"]) == 2
    assert "no such folder" in capsys.readouterr().err
    shutil.rmtree(old / "models")
    assert main(["doctor", "--adopt", str(old), "--yes", "--device", "cpu"]) == 2
    assert "models/vae" in capsys.readouterr().err
    assert "layout" not in (old / "config.yaml").read_text()
