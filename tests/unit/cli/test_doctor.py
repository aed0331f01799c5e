"""`opensora doctor` on stores that the encoders wrote."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import main
from opensora.core.io import read_json, sha256_file, write_json


@pytest.fixture(scope="module")
def stores(video_world, tmp_path_factory):
    """Latents in two shards and embeddings of a few clips."""
    folder = tmp_path_factory.mktemp("stores")
    encode(video_world, folder, num_shards=2)
    words = ["encode-captions", "--manifest", f"{video_world}/manifest.csv", "--max-length", "20"]
    words += ["--text-encoder", f"{video_world}/t5", "--store", f"{folder}/texts"]
    words += ["--device", "cpu", "--output", f"{folder}/embeddings/0000.parquet"]
    assert main(words) == 0
    return folder


def encode(world, folder, *, num_shards):
    """Latents of the clips of a world."""
    (folder / "config.py").write_text('bucket_config = {"24px": {4: (1.0, 2), 1: (1.0, 1)}}\n')
    manifest = f"{world}/manifest.csv"
    words = ["assign-buckets", f"{folder}/config.py", "--data-path", manifest]
    words += ["--plan", f"{folder}/plan.parquet", "--seed", "1"]
    assert main([*words, "--items", f"{folder}/items", "--num-shards", str(num_shards)]) == 0
    for shard in range(num_shards):
        words = ["encode-videos", "--items", f"{folder}/items/{shard:04d}.parquet"]
        words += ["--store", f"{folder}/store", "--vae", f"{world}/vae"]
        words += ["--output", f"{folder}/latents/{shard:04d}.parquet"]
        words += ["--shard", str(shard), "--num-shards", str(num_shards), "--min-psnr", "0"]
        assert main([*words, "--device", "cpu", "--dtype", "fp32"]) == 0


def examine(video_world, *words: str) -> int:
    return main(["doctor", "--device", "cpu", "--manifest", f"{video_world}/manifest.csv", *words])


def test_sound_stores_are_counted(stores, capsys):
    words = ["--latents", f"{stores}/latents", "--embeddings", f"{stores}/embeddings"]
    assert main(["doctor", *words]) == 0
    line = capsys.readouterr().out.strip()
    assert "6 clips in 2 buckets" in line
    assert "nothing decoded (no --vae)" in line
    assert "3 captions of 6 clips" in line


def test_with_the_encoders_clips_are_decoded_and_captions_encoded(video_world, stores, capsys):
    before = {path: path.read_bytes() for path in stores.rglob("*") if path.is_file()}
    words = ["--latents", f"{stores}/latents", "--vae", f"{video_world}/vae", "--min-psnr", "0"]
    words += ["--embeddings", f"{stores}/embeddings", "--text-encoder", f"{video_world}/t5"]
    assert examine(video_world, *words) == 0
    after = {path: path.read_bytes() for path in stores.rglob("*") if path.is_file()}
    assert after == before  # it looks, and changes nothing
    said = capsys.readouterr().out
    assert "decoded samples of each bucket" in said
    assert "some encoded again" in said


def test_a_bad_reconstruction_is_one_sentence_and_code_2(video_world, stores, capsys):
    words = ["--latents", f"{stores}/latents", "--vae", f"{video_world}/vae"]
    assert examine(video_world, *words, "--min-psnr", "90") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("opensora doctor: ")
    assert "below 90 dB" in message


def test_a_clip_that_was_replaced_is_not_compared_with_its_latents(video_world, tmp_path, capsys):
    shutil.copytree(video_world, tmp_path / "world")
    manifest = pd.read_csv(tmp_path / "world/manifest.csv")
    names = [str(tmp_path / "world" / Path(path).name) for path in manifest["path"]]
    manifest = manifest.assign(path=names, sha256=[sha256_file(Path(name)) for name in names])
    manifest.to_csv(tmp_path / "world/manifest.csv", index=False)
    encode(tmp_path / "world", tmp_path, num_shards=1)
    words = ["--latents", f"{tmp_path}/latents", "--vae", f"{video_world}/vae", "--min-psnr", "0"]
    assert examine(tmp_path / "world", *words) == 0
    for name in names:
        with open(name, "ab") as file:
            file.write(bytes(8))
    assert examine(tmp_path / "world", *words) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "changed since ingest; run again from there" in message


def test_a_flipped_bit_is_one_sentence_and_code_2(stores, tmp_path, capsys):
    for name, store in (("latents", "store"), ("embeddings", "texts")):
        victim = max((stores / store).rglob("*.safetensors"), key=lambda path: path.stat().st_size)
        good = victim.read_bytes()
        try:
            # tokens stand before the offsets, so the last byte of the file is of these
            place = len(good) - 200
            victim.write_bytes(good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :])
            assert main(["doctor", f"--{name}", f"{stores}/{name}"]) == 2
        finally:
            victim.write_bytes(good)
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert victim.name in message
        assert "the checksum of" in message
        command = {"latents": "encode-videos", "embeddings": "encode-captions"}[name]
        assert f"delete it and run `opensora {command}` again" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to examine"),
        (["--latents", "x", "--vae", "y"], "give --manifest FILE too"),
        (["--embeddings", "x", "--vae", "y", "--manifest", "m.csv"], "give --latents DIR too"),
        (["--latents", "x", "--text-encoder", "y"], "give --embeddings DIR too"),
        (["--embeddings", "x", "--text-encoder", "y"], "give --manifest FILE too"),
        (["--latents", "/nowhere"], "holds no index; rule encode_videos makes it"),
        (["--embeddings", "/nowhere"], "holds no index; rule encode_captions makes it"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(words, message, capsys):
    assert main(["doctor", *words]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_another_vae_than_the_one_that_encoded_is_refused(video_world, stores, tmp_path, capsys):
    vae = tmp_path / "vae"
    vae.mkdir()
    for path in (video_world / "vae").iterdir():
        (vae / path.name).write_bytes(path.read_bytes())
    write_json(vae / "config.json", {**read_json(vae / "config.json"), "scaling_factor": 0.5})
    words = ["--latents", f"{stores}/latents", "--vae", str(vae), "--min-psnr", "0"]
    assert examine(video_world, *words) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "encoded with scaling_factor 0.18215, expected 0.5" in message
    assert json.loads((vae / "config.json").read_text())["scaling_factor"] == 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "config.json is missing"), ({"_class_name": "UNet"}, "_class_name is 'UNet'")],
)
def test_a_folder_that_is_no_autoencoder_is_named(
    video_world, stores, tmp_path, capsys, content, message
):
    if content is not None:
        write_json(tmp_path / "config.json", content)
    words = ["--latents", f"{stores}/latents", "--vae", str(tmp_path)]
    assert examine(video_world, *words) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--yes"], "--yes belongs to --sweep, --forget or --adopt"),
        (["--sweep", "--forget", "x"], "--sweep, --forget: give one of them, alone"),
        (["--sweep", "--latents", "x"], "--sweep: give one of them, alone"),
        (["--sweep", "--vae", "x"], "--vae has no effect with --sweep; leave it out"),
        (["--adopt", "x", "--manifest", "y"], "--manifest has no effect with --adopt"),
        (["--sweep", "nowhere"], "nowhere: holds no store; give the folder of runs and store"),
        (["--adopt", "nowhere"], "nowhere: no such folder; give that of a run"),
    ],
)
def test_what_contradicts_itself_is_one_sentence(words, message, capsys):
    assert main(["doctor", *words]) == 2
    assert message in capsys.readouterr().err
