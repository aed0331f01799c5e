"""Several windows of a clip: what is stored of them, found again, trained on, examined."""

from collections import Counter

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.cli.main import main
from opensora.core.errors import StoreError
from opensora.datasets.stored import LatentDataset
from opensora.media.decode import iter_frames
from opensora.media.frames import read_clip
from opensora.plans.compile import write_plan
from opensora.plans.settle_plan import find_rejected, read_index
from opensora.precompute import examine
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.latents import LatentStore
from tests import tiny_stores
from tests.results_folder import encode_shard, run_command

from .encoding import contents, encode
from .patch_autoencoder import PatchAutoencoder

VIDEO, IMAGE = Bucket("24px", 4, "1.00"), Bucket("24px", 1, "1.00")
DRAWN = VideoEncoding(dtype="fp32", posterior="sample")
STARTS = (0, 2, 1)  # of four frames in a clip of six, in the order in which they are added


def windows_of(store: LatentStore, name: str, bucket: Bucket) -> dict[int, torch.Tensor]:
    rows = store.rows[(store.rows["id"] == name) & (store.rows["bucket"] == str(bucket))]
    return {int(row.window): store.at(row.Index) for row in rows.itertuples()}


def test_the_frames_of_a_latent_are_those_of_its_window(world, tmp_path):
    counts = encode(world, tmp_path, PatchAutoencoder(), windows=3)
    assert counts["encoded"] == 6 * 3 + 2  # the images have one
    store = LatentStore(tmp_path / "run/latents")
    assert store.windows == 3
    for row in world.manifest.itertuples():
        bucket = IMAGE if row.num_frames == 1 else VIDEO
        found = windows_of(store, row.id, bucket)
        assert set(found) == set(range(row.num_frames - bucket.num_frames + 1))
        whole = read_clip(row.path, row.num_frames, bucket.size, 1)
        assert len(list(iter_frames(row.path))) == row.num_frames
        for start, latent in found.items():
            wanted = whole[:, start : start + bucket.num_frames]
            assert torch.equal(PatchAutoencoder().decode(latent[None])[0], wanted)
        assert torch.equal(store.get(row.id, bucket), found[0])
    with pytest.raises(StoreError, match="no latent of 'c0' in bucket 32px"):
        store.locate_all("c0", Bucket("32px", 4, "1.00"))


def test_more_windows_encode_the_new_ones_alone_and_the_first_stays(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder(0.1), DRAWN)
    before = contents(tmp_path)
    for windows, counts in ((2, (6, 8)), (3, (6, 14)), (3, (0, 20)), (1, (0, 8))):
        made = encode(world, tmp_path, PatchAutoencoder(0.1), DRAWN, windows=windows)
        assert (made["encoded"], made["found"]) == counts
    assert contents(tmp_path).items() >= before.items()  # indexes of one window too
    index = tmp_path / "run/latents/0000.parquet"
    assert "window" not in pd.read_parquet(index)


def test_each_window_has_noise_of_its_own(world, tmp_path):
    encode(world, tmp_path / "one", PatchAutoencoder(0.1), DRAWN)
    encode(world, tmp_path / "many", PatchAutoencoder(0.1), DRAWN, windows=3)
    one, many = (LatentStore(tmp_path / name / "run/latents") for name in ("one", "many"))
    assert torch.equal(one.get("c0", VIDEO), many.get("c0", VIDEO))
    path = world.manifest["path"][0]
    noises = []
    for start, drawn in windows_of(many, "c0", VIDEO).items():
        clip = read_clip(path, VIDEO.num_frames, VIDEO.size, 1, start)[None]
        mean = PatchAutoencoder().encode(clip, generator=None, posterior="mean")[0]
        noises.append((drawn - mean).flatten())
        assert float(noises[-1].std()) == pytest.approx(0.1, rel=0.1)
    both = torch.corrcoef(torch.stack(noises))
    assert float((both - torch.eye(3)).abs().max()) < 0.1


def test_an_epoch_trains_on_one_window_and_all_epochs_on_all(world, tmp_path):
    """The latents of batches are compared with the frames that are decoded."""
    epochs = 24
    parts = [world.plan.table.to_pandas().assign(epoch=epoch) for epoch in range(epochs)]
    plan = pd.concat(parts, ignore_index=True)
    plan["bucket"] = plan["bucket"].astype(str)
    plan.attrs = {"hash": "h"}
    write_plan(plan, tmp_path / "plan.parquet", frame_interval=1)
    encode(world, tmp_path, PatchAutoencoder(), windows=3)
    tokens = {text: torch.ones(1, 2) for text in set(world.manifest["text"])}
    captions = dict(zip(world.manifest["id"], world.manifest["text"], strict=True))
    text = {"type": "t", "model_max_length": 3}
    tiny_stores.fill_embeddings(tmp_path / "text/0000.parquet", tokens, captions, text)
    folders = tmp_path / "run/latents", tmp_path / "text", tmp_path / "plan.parquet"
    data = LatentDataset(*folders, seed=3)
    paths = dict(zip(world.manifest["id"], world.manifest["path"], strict=True))
    whole = {f"c{k}": read_clip(paths[f"c{k}"], 6, VIDEO.size, 1) for k in range(6)}
    seen: dict[str, Counter[int]] = {name: Counter() for name in whole}
    for batch in map(data.__getitem__, range(len(data))):
        pixels = PatchAutoencoder().decode(batch["latents"])
        for name, clip in zip(batch["ids"], pixels, strict=True):
            if name in whole:
                (start,) = (
                    start
                    for start in STARTS
                    if torch.equal(clip, whole[name][:, start : start + VIDEO.num_frames])
                )
                seen[name][start] += 1
    assert all(counts == dict.fromkeys(STARTS, epochs // 3) for counts in seen.values())
    # a batch is the same by whomever and whenever it is read, and another one with another seed
    again = LatentDataset(*folders, seed=3)
    last = len(data) - 1
    assert torch.equal(again[last]["latents"], data[last]["latents"])
    other = LatentDataset(*folders, seed=4)
    batches = range(len(data))
    assert any(not torch.equal(other[k]["latents"], data[k]["latents"]) for k in batches)


def test_a_window_that_can_not_be_read_costs_itself_and_not_its_clip(world, tmp_path):
    """The table says one frame more than there is: the last window ends behind the film."""
    manifest = world.manifest.assign(num_frames=[7, *world.manifest["num_frames"][1:]])
    counts = encode(world, tmp_path, PatchAutoencoder(), manifest=manifest, windows=2)
    assert counts["rejected"] == 1
    index = tmp_path / "run/latents/0000.parquet"
    store = LatentStore(index)
    assert len(store.locate_all("c0", VIDEO)) == 1
    assert len(store.locate_all("c1", VIDEO)) == 2
    (lost,) = store.rejected.to_dict("records")
    assert (lost["id"], lost["window"]) == ("c0", 3)
    assert "the plan needs 4 frames" in lost["detail"]
    latents = read_index([index], "encode_videos", has_buckets=True)
    assert find_rejected(world.plan, latents, None).empty
    # of a file without any of them both rows say so, and its clip is dealt out once
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    manifest = world.manifest.assign(path=[broken, *world.manifest["path"][1:]])
    encode(world, tmp_path / "b", PatchAutoencoder(), manifest=manifest, windows=2)
    index = tmp_path / "b/run/latents/0000.parquet"
    latents = read_index([index], "encode_videos", has_buckets=True)
    found = find_rejected(world.plan, latents, None)
    assert found[["id", "stage"]].to_numpy().tolist() == [["c0", "encode_videos"]]


def test_one_window_twice_is_refused_and_two_are_not(tmp_path):
    identity = {"type": "V", "dtype": "fp32", "posterior": "mean"}
    values = {("c0", VIDEO, start): torch.full((1, 4, 3, 3), float(start)) for start in (5, 0, 9)}
    tiny_stores.fill_latents(tmp_path / "latents/0000.parquet", values, identity)
    store = LatentStore(tmp_path / "latents")
    places = store.locate_all("c0", VIDEO)
    assert [float(store.at(place).mean()) for place in places] == [0.0, 5.0, 9.0]
    tiny_stores.fill_latents(tmp_path / "latents/0001.parquet", values, identity)
    with pytest.raises(StoreError, match="c0 stands twice in its indexes"):
        LatentStore(tmp_path / "latents")


def test_the_doctor_compares_each_window_with_its_own_frames(world, tmp_path, monkeypatch):
    encode(world, tmp_path, PatchAutoencoder(), windows=3)
    monkeypatch.setattr(examine, "load_autoencoder", lambda *_: PatchAutoencoder())
    index = tmp_path / "run/latents"
    settings = {"vae": "here", "manifest": world.manifest, "min_psnr": 60.0, "device": "cpu"}
    said = examine.examine_latents([index], **settings)
    assert "decoded samples of each bucket" in said
    # the same latents, said to begin elsewhere
    table = pq.read_table(index / "0000.parquet")
    is_video = pc.equal(table["bucket"], str(VIDEO))
    turned = pc.if_else(is_video, pc.choose(table["window"], 1, 2, 0), 0)
    place = table.schema.get_field_index("window")
    pq.write_table(table.set_column(place, "window", turned), index / "0000.parquet")
    with pytest.raises(StoreError, match="below 60 dB"):
        examine.examine_latents([index], **settings)


def test_a_forgotten_video_leaves_the_windows_of_others_as_they_were(results, video_world):
    run = results / "one"
    items = run / "buckets/stage1"
    words = ["--plan", items / "settled.parquet", "--items", items, "--windows", 2]
    run_command("assign-buckets", run / "stage1.py", "--data-path", run / "manifest", *words)
    encode_shard(results, run, video_world, 0, 1)
    before = LatentStore(run / "latents/stage1")
    assert before.windows == 2
    old = {key: latent.clone() for key, latent in _by_window(before).items()}
    paths = pd.read_parquet(run / "ingest/0000.parquet")["path"]
    path = next(path for path in paths if path.endswith("sun.mp4"))
    assert main(["doctor", "--forget", path, "--results", str(results), "--yes"]) == 0
    after = LatentStore(run / "latents/stage1")
    assert after.windows == 2
    assert len(after) == len(before) // 2
    new = _by_window(after)
    assert all(torch.equal(latent, old[key]) for key, latent in new.items())
    # and nothing that is named is swept
    main(["doctor", "--sweep", str(results), "--yes"])
    assert LatentStore(run / "latents/stage1").verify() > 0


def _by_window(store: LatentStore) -> dict[tuple[str, int], torch.Tensor]:
    return {(row.id, row.window): store.at(row.Index) for row in store.rows.itertuples()}
