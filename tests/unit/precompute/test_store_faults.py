"""Jobs that meet, are killed, read broken clips or find damaged files."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.stores.latents import LatentStore

from .encoding import PLAIN, contents, data_files, encode, encode_texts
from .patch_autoencoder import PatchAutoencoder

VIDEO, IMAGE = Bucket("24px", 4, "1.00"), Bucket("24px", 1, "1.00")
REPOSITORY = Path(__file__).parents[3]
# one job of a world that a test made; the second word says what happens after the first file
JOB = """
import os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from opensora.plans.compile import BatchPlan
from opensora.stores.catalogue import Catalogue
from opensora.tables.manifest import read_manifest
from tests.unit.precompute.encoding import encode
from tests.unit.precompute.patch_autoencoder import PatchAutoencoder

world, folder, run, then = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
add, added = Catalogue.add, []

def add_and(self, *arguments):
    rows = add(self, *arguments)
    added.append(rows)
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return rows

class Slow(PatchAutoencoder):
    def encode(self, x, **options):
        if then == "meet":  # until the other job is there too
            (folder / f"{run}.here").touch()
            end = time.monotonic() + 60
            while len(list(folder.glob("*.here"))) < 2 and time.monotonic() < end:
                time.sleep(0.01)
        return super().encode(x, **options)

Catalogue.add = add_and
made = SimpleNamespace(
    manifest=read_manifest(world / "manifest.csv"), plan=BatchPlan(world / "plan.parquet")
)
print(encode(made, folder, Slow(0.1), run=run))
"""


def job(world, folder: Path, run: str, then: str) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(world.folder), str(folder), run, then],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_job_goes_on_to_the_same_bytes(world, tmp_path):
    killed = job(world, tmp_path / "killed", "run", "die")
    said = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said
    assert len(data_files(tmp_path / "killed")) == 1
    assert not (tmp_path / "killed/run").exists()
    vae = PatchAutoencoder(0.1)
    counts = encode(world, tmp_path / "killed", vae)
    assert (counts["found"], counts["encoded"]) == (2, 6)  # the images were finished
    encode(world, tmp_path / "straight", PatchAutoencoder(0.1))
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_two_jobs_that_encode_the_same_clips_at_once_both_succeed(world, tmp_path):
    folder = tmp_path / "shared"
    jobs = [job(world, folder, run, "meet") for run in ("a", "b")]
    for each in jobs:
        said = each.communicate(timeout=120)
        assert each.returncode == 0, said
        assert "'encoded': 8" in said[0]  # each of them, for neither was there first
    assert [path.name for path in data_files(folder)] == [
        path.name for path in data_files(_straight(world, tmp_path))
    ]
    assert not list(folder.rglob("*.aside"))
    one, other = (LatentStore(folder / run / "latents") for run in ("a", "b"))
    assert one.rows.equals(other.rows)
    assert one.verify() == other.verify() > 0
    assert (folder / "a/latents/0000.parquet").read_bytes() == (
        folder / "b/latents/0000.parquet"
    ).read_bytes()


def _straight(world, tmp_path) -> Path:
    encode(world, tmp_path / "straight", PatchAutoencoder(0.1))
    return tmp_path / "straight"


HARMS = {
    "cut": lambda data: data[:-5],
    "header": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "empty": lambda data: b"",
    "missing": None,
}


def harm(path: Path, how: str) -> None:
    if HARMS[how] is None:
        path.unlink()
    else:
        path.write_bytes(HARMS[how](path.read_bytes()))


@pytest.mark.parametrize("how", HARMS)
def test_what_is_not_as_it_was_written_is_made_again(world, tmp_path, how):
    encode(world, tmp_path, PatchAutoencoder(0.1))
    good = contents(tmp_path)
    victim, other = data_files(tmp_path)
    before = other.stat().st_mtime_ns
    harm(victim, how)
    with pytest.raises(StoreError, match=r"damaged \(.*run `opensora encode-videos`") as error:
        LatentStore(tmp_path / "run/latents").verify()
    assert victim.name in str(error.value)
    assert "\n" not in str(error.value)
    counts = encode(world, tmp_path, PatchAutoencoder(0.1))
    assert (counts["found"], counts["encoded"]) in ((6, 2), (2, 6))
    assert contents(tmp_path) == good
    assert other.stat().st_mtime_ns == before
    assert LatentStore(tmp_path / "run/latents").verify() > 0


def test_a_flipped_bit_is_found_when_it_is_read_and_the_file_then_deleted(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder(0.1))
    good = contents(tmp_path)
    victim = data_files(tmp_path)[1]
    data = victim.read_bytes()
    victim.write_bytes(data[:-5] + bytes([data[-5] ^ 8]) + data[-4:])
    with pytest.raises(StoreError, match=r"checksum of c. fails.*; delete it and run") as error:
        LatentStore(tmp_path / "run/latents").verify()
    assert str(victim) in str(error.value)
    victim.unlink()
    assert encode(world, tmp_path, PatchAutoencoder(0.1))["encoded"] == 6
    assert contents(tmp_path) == good


def test_a_damaged_file_without_an_index_is_not_taken(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder(0.1))
    good = contents(tmp_path)
    victim = data_files(tmp_path)[1]
    data = victim.read_bytes()
    victim.write_bytes(data[:-5] + bytes([data[-5] ^ 8]) + data[-4:])
    victim.with_suffix(".parquet").unlink()
    assert encode(world, tmp_path, PatchAutoencoder(0.1))["encoded"] == 6
    assert contents(tmp_path) == good


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_file_without_facts_or_index_is_entered_again(world, tmp_path, suffix):
    encode(world, tmp_path, PatchAutoencoder(0.1))
    good = contents(tmp_path)
    lost = data_files(tmp_path)[0].with_suffix(suffix)
    lost.unlink()
    encode(world, tmp_path, PatchAutoencoder(0.1))
    assert contents(tmp_path) == good


def test_an_unreadable_index_of_a_file_is_left_out_with_a_warning(world, tmp_path, caplog):
    encode(world, tmp_path, PatchAutoencoder(0.1))
    index = data_files(tmp_path)[1].with_suffix(".parquet")
    good = index.read_bytes()
    index.write_bytes(good[:100])
    assert encode(world, tmp_path, PatchAutoencoder(0.1))["encoded"] == 6
    assert "store file left out" in caplog.text
    assert index.read_bytes() == good


@pytest.mark.parametrize("hashed", [True, False])
def test_a_clip_that_can_not_be_read_is_a_row_with_its_reason(world, tmp_path, caplog, hashed):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    paths = world.manifest["path"].tolist()
    paths[1], paths[4] = str(tmp_path / "broken.mp4"), str(tmp_path / "gone.mp4")
    manifest = world.manifest.assign(path=paths)
    if not hashed:
        manifest = manifest.assign(sha256="")
    counts = encode(world, tmp_path, PatchAutoencoder(0.1), manifest=manifest)
    assert (counts["encoded"], counts["rejected"]) == (6, 2)
    store = LatentStore(tmp_path / "run/latents")
    assert sorted(store.rows["id"]) == ["c0", "c2", "c3", "c5", "c6", "c7"]
    rejected = store.rejected.set_index("id")
    assert rejected.index.tolist() == ["c1", "c4"]
    assert "broken.mp4" in rejected.loc["c1", "detail"]
    assert "gone.mp4" in rejected.loc["c4", "detail"]
    assert set(rejected["status"]) <= {"not_a_video", "corrupt", "unreadable", "missing"}
    assert "not encoded rows=2" in caplog.text
    vae = PatchAutoencoder(0.1)  # they are tried again, and the others are not
    again = encode(world, tmp_path, vae, manifest=manifest)
    assert (again["found"], again["rejected"], vae.calls) == (6, 2, [])
    good = world.manifest if hashed else world.manifest.assign(sha256="")
    assert encode(world, tmp_path, vae, manifest=good)["rejected"] == 0
    assert len(LatentStore(tmp_path / "run/latents")) == 8


def test_a_shard_of_unreadable_clips_loads_no_encoder_and_ends(world, tmp_path):
    manifest = world.manifest.assign(path=str(tmp_path / "gone.mp4"))
    counts = encode(world, tmp_path, None, manifest=manifest)
    assert (counts["clips"], counts["rejected"]) == (8, 8)
    assert len(LatentStore(tmp_path / "run/latents").rejected) == 8


def test_an_encoder_that_says_something_else_of_itself_is_refused(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())

    class Other(PatchAutoencoder):
        def identity(self):
            return {"type": "patch", "weights": "others"}

    data_files(tmp_path)[0].unlink()
    with pytest.raises(StoreError, match="filled with weights 'none' and the encoder now says 'ot"):
        encode(world, tmp_path, Other())


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
def test_captions_that_are_not_as_they_were_written_are_made_again(world, tmp_path, how, int8):
    encoding = PLAIN.__class__(dtype="fp32", int8=int8)
    manifest = world.manifest.assign(text=["abc", "de", "abc", *["fgh"] * 5])
    encode_texts(manifest, tmp_path, Counting(), encoding)
    good = contents(tmp_path)
    harm(data_files(tmp_path)[0], how)
    encoder = Counting()
    assert encode_texts(manifest, tmp_path, encoder, encoding)["encoded"] == 3
    assert set(encoder.texts) == {"abc", "de", "fgh"}
    assert contents(tmp_path) == good
