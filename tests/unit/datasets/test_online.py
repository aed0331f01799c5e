"""Batches decoded while training: pixels, windows, sizes, captions, and what can go wrong."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from opensora.buckets.bucket import assign_buckets
from opensora.config.registry import DATASETS, build_module
from opensora.core.errors import ConfigError, TableError
from opensora.core.io import sha256_file
from opensora.datasets.online import VariableVideoTextDataset, VideoTextDataset
from opensora.media.decode import read_frames
from opensora.media.encode import write_video
from opensora.media.frames import (
    choose_window,
    fit_image,
    resize_center_crop,
    resize_crop_to_fill,
)
from opensora.plans.compile import compile_plan, write_plan

NUM_CLIPS, FRAMES, FPS, INTERVAL, SEED = 4, 30, 24.0, 2, 5
BUCKETS = {"24px": {8: (1.0, 2), 1: (1.0, 2)}}


def moving(kind: int, height: int, width: int) -> np.ndarray:
    """Frames that all differ: noise that slides to the left."""
    texture = np.random.default_rng(kind).integers(0, 256, (height, width + FRAMES, 3), np.uint8)
    return np.stack([texture[:, t : t + width] for t in range(FRAMES)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four wide clips, two images, a manifest with relative paths, and a plan of two epochs."""
    folder = tmp_path_factory.mktemp("online")
    rows = []
    for k in range(NUM_CLIPS):
        write_video(folder / f"clip{k}.mp4", moving(k, 40, 64), FPS)
        row = {"id": f"c{k}", "path": f"clip{k}.mp4", "num_frames": FRAMES, "fps": FPS}
        rows.append({**row, "height": 40, "width": 64})
    for k in range(2):
        Image.fromarray(moving(9 + k, 48, 32)[0]).save(folder / f"image{k}.png")
        row = {"id": f"i{k}", "path": f"image{k}.png", "num_frames": 1, "fps": 1.0}
        rows.append({**row, "height": 48, "width": 32})
    manifest = pd.DataFrame(rows).assign(text="A  BOX at http://box.com/1.png moves")
    manifest.to_csv(folder / "manifest.csv", index=False)
    save_plan(manifest, folder / "plan.parquet", BUCKETS)
    return folder


def save_plan(manifest: pd.DataFrame, path: Path, buckets: dict, interval: int = INTERVAL) -> None:
    placed = assign_buckets(manifest, buckets, seed=SEED, frame_interval=interval)
    plan = compile_plan([placed], buckets, seed=SEED, epochs=2)
    write_plan(plan, path, seed=SEED, frame_interval=interval)


def variable(world: Path, **fields) -> VariableVideoTextDataset:
    defaults = {"data_path": world / "manifest.csv", "plan": world / "plan.parquet"}
    more = {"root": world, "frame_interval": INTERVAL, "seed": SEED}
    return VariableVideoTextDataset(**{**defaults, **more, **fields})


def test_clips_are_the_frames_of_their_window_through_the_reference_s_transform(world):
    dataset = variable(world)
    checked = 0
    for position in range(len(dataset)):
        epoch, bucket, _ = dataset.plan[position]
        batch = dataset[position]
        for name, clip in zip(batch["ids"], batch["video"], strict=True):
            if name.startswith("c"):
                window = choose_window(name, FRAMES, 8, INTERVAL, seed=SEED, epoch=epoch)
                frames = read_frames(world / f"clip{name[1]}.mp4", window)
                pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
                expected = resize_crop_to_fill(pixels, bucket.size).transpose(0, 1)
            else:
                image = Image.open(world / f"image{name[1]}.png")
                fitted = np.array(fit_image(image, "resize_crop", bucket.size))
                expected = torch.from_numpy(fitted).permute(2, 0, 1)[:, None]
            # whole levels: up to one from the exact value
            assert ((clip + 1) * 127.5 - expected).abs().max() < 1.01
            checked += 1
    assert checked == 2 * (NUM_CLIPS + 2)


def test_a_batch_says_what_the_model_must_know(world):
    dataset = variable(world)
    batches = [dataset[position] for position in range(len(dataset))]
    for batch in batches:
        height, width = batch["video"].shape[-2:]
        assert batch["video"].dtype == torch.float32
        assert batch["video"].min() >= -1
        assert batch["video"].max() <= 1
        assert batch["height"].tolist() == [height] * 2
        assert batch["width"].tolist() == [width] * 2
        assert batch["ar"].tolist() == pytest.approx([height / width] * 2)
        # as the table has it: what makes a manifest cleans it once
        assert batch["text"] == ["A  BOX at http://box.com/1.png moves"] * 2
    shapes = {tuple(batch["video"].shape) for batch in batches}
    assert {shape[2] for shape in shapes} == {1, 8}
    for batch in batches:
        frames = batch["video"].shape[2]
        assert batch["num_frames"].tolist() == [frames] * 2
        assert batch["fps"].tolist() == [120.0 if frames == 1 else FPS / INTERVAL] * 2


def test_reading_is_the_same_in_any_order_and_from_many_threads(world):
    dataset = variable(world)
    straight = [dataset[position]["video"] for position in range(len(dataset))]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(dataset.__getitem__, reversed(range(len(dataset)))))
    for one, other in zip(straight, reversed(together), strict=True):
        assert torch.equal(one, other["video"])


def test_another_epoch_sees_other_frames_of_the_same_clip(world):
    dataset = variable(world)
    seen: dict[str, list[torch.Tensor]] = {}
    for position in range(len(dataset)):
        batch = dataset[position]
        for name, clip in zip(batch["ids"], batch["video"], strict=True):
            seen.setdefault(name, []).append(clip)
    assert all(torch.equal(*seen[name]) for name in ("i0", "i1"))
    assert not all(torch.equal(*seen[f"c{k}"]) for k in range(NUM_CLIPS))


def test_a_fixed_size_takes_the_middle_square_of_every_clip(world, tmp_path):
    manifest = pd.read_csv(world / "manifest.csv")
    save_plan(manifest, tmp_path / "plan.parquet", {"32x32": {4: (1.0, 2)}})
    fields = {"data_path": world / "manifest.csv", "plan": tmp_path / "plan.parquet"}
    config = {"type": "VideoTextDataset", **fields, "root": world, "num_frames": 4}
    config |= {"frame_interval": INTERVAL, "image_size": [32, 32]}
    dataset = build_module(config, DATASETS, seed=SEED)
    assert isinstance(dataset, VideoTextDataset)
    batch = dataset[0]
    assert batch["video"].shape == (2, 3, 4, 32, 32)
    name, epoch = batch["ids"][0], dataset.plan[0].epoch
    window = choose_window(name, FRAMES, 4, INTERVAL, seed=SEED, epoch=epoch)
    frames = torch.from_numpy(read_frames(world / f"clip{name[1]}.mp4", window))
    expected = resize_center_crop(frames.permute(0, 3, 1, 2).float(), 32).transpose(0, 1)
    assert ((batch["video"][0] + 1) * 127.5 - expected).abs().max() < 1.01
    with pytest.raises(ConfigError, match=r"num_frames is 8 .* the plan holds 4 frames"):
        build_module({**config, "num_frames": 8}, DATASETS)
    with pytest.raises(ConfigError, match=r"image_size \(16, 16\)"):
        build_module({**config, "image_size": (16, 16)}, DATASETS)


def test_settings_that_are_not_those_of_the_plan_are_refused(world):
    with pytest.raises(ConfigError, match="frame_interval is 3 and the plan was made with 2"):
        variable(world, frame_interval=3)
    with pytest.raises(ConfigError, match="cuts squares"):
        variable(world, transform_name="center")
    with pytest.raises(ConfigError, match="unknown transform 'fill'"):
        variable(world, transform_name="fill")


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    for path in world.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def of_clips(dataset: VariableVideoTextDataset) -> list[int]:
    return [p for p in range(len(dataset)) if dataset.plan[p].ids[0].startswith("c")]


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (lambda path: path.unlink(), "missing", "does not exist"),
        (lambda path: write_video(path, moving(1, 40, 64)[:10], FPS), "too_short", "it has 10"),
        (lambda path: path.write_bytes(b"\x00\x00\x00\x18ftypmp42 no"), None, ""),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 3]), None, ""),
    ],
    ids=["gone", "short", "damaged", "cut off"],
)
def test_the_next_clip_of_the_bucket_takes_the_place_of_an_unreadable_one(
    copy, world, damage, reason, detail
):
    whole, dataset = variable(world), variable(copy, max_rejected=0.5)
    positions = of_clips(dataset)
    first = dataset.plan[positions[0]].ids
    damage(copy / f"clip{first[1][1]}.mp4")
    batch = dataset[positions[0]]
    taker = dataset.plan[positions[1]].ids[0]  # of the same epoch: another clip
    assert batch["ids"] == [first[0], taker]
    epoch = dataset.plan[positions[0]].epoch
    window = choose_window(taker, FRAMES, 8, INTERVAL, seed=SEED, epoch=epoch)
    frames = read_frames(copy / f"clip{taker[1]}.mp4", window)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    size = dataset.plan[positions[0]].bucket.size
    expected = resize_crop_to_fill(pixels, size).transpose(0, 1) / 127.5 - 1
    assert (batch["video"][1] - expected).abs().max() < 1.01 / 127.5  # whole levels
    assert torch.equal(batch["video"][0], whole[positions[0]]["video"][0])
    (found,) = dataset.rejects.take()
    assert (found.id, found.path) == (first[1], str(copy / f"clip{first[1][1]}.mp4"))
    assert reason is None or found.reason == reason
    assert found.reason
    assert detail in found.detail
    # whoever reads, in whatever order, sees the same
    again = variable(copy, max_rejected=0.5)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(again.__getitem__, reversed(range(len(again)))))
    for position, other in zip(reversed(range(len(again))), together, strict=True):
        assert dataset[position]["ids"] == other["ids"]
        assert torch.equal(dataset[position]["video"], other["video"])


def test_a_clip_that_was_replaced_is_not_trained_on(copy):
    manifest = pd.read_csv(copy / "manifest.csv")
    manifest["sha256"] = [sha256_file(copy / path) for path in manifest["path"]]
    manifest.to_csv(copy / "manifest.csv", index=False)
    dataset = variable(copy, max_rejected=0.5)
    position = of_clips(dataset)[0]
    first, second = dataset.plan[position].ids
    assert dataset[position]["ids"] == [first, second]
    write_video(copy / f"clip{second[1]}.mp4", moving(7, 40, 64), FPS)  # of the same length
    assert second not in dataset[position]["ids"]
    (found,) = dataset.rejects.take()
    assert (found.id, found.reason) == (second, "changed")
    assert "changed since ingest" in found.detail


def test_a_bucket_without_other_clips_gives_one_of_the_batch_again(copy):
    dataset = variable(copy, max_rejected=0.5)
    images = sorted(set(range(len(dataset))) - set(of_clips(dataset)))
    gone, left = dataset.plan[images[0]].ids
    (copy / f"image{gone[1]}.png").unlink()
    assert dataset[images[0]]["ids"] == [left, left]
    (copy / f"image{left[1]}.png").unlink()
    fresh = variable(copy, max_rejected=0.5)
    with pytest.raises(
        ConfigError, match=r"no clip of bucket 24px\|1\|.* can be read .first: .*png"
    ):
        fresh[images[0]]


def test_more_unreadable_clips_than_allowed_end_the_run(copy):
    for k in range(2):
        (copy / f"clip{k}.mp4").unlink()
    dataset = variable(copy, max_rejected=0.2)  # of six clips
    with pytest.raises(
        ConfigError, match=r"2 of the 6 clips of the plan, 33.3 %, .*missing 2 \(su"
    ):
        [dataset[position] for position in range(len(dataset))]


def test_a_manifest_without_columns_or_clips_of_the_plan_is_refused(world, tmp_path):
    manifest = pd.read_csv(world / "manifest.csv")
    path = tmp_path / "manifest.csv"
    manifest.drop(columns="text").to_csv(path, index=False)
    with pytest.raises(TableError, match="column 'text' is missing"):
        variable(world, data_path=path)
    manifest[manifest["id"] != "c2"].to_csv(path, index=False)
    with pytest.raises(TableError, match="lacks 1 clip of the plan, the first 'c2'"):
        variable(world, data_path=path)
    pd.concat([manifest, manifest[:1]]).to_csv(path, index=False)
    with pytest.raises(TableError, match="id 'c0' is there twice"):
        variable(world, data_path=path)
    with pytest.raises(TableError, match="no such table"):
        variable(world, data_path=tmp_path / "nowhere.csv")


def test_clips_with_several_captions_show_their_first_and_it_is_told(world, tmp_path, caplog):
    manifest = pd.read_csv(world / "manifest.csv").assign(num_captions=1)
    manifest.to_csv(tmp_path / "one.csv", index=False)
    manifest.assign(num_captions=2).to_csv(tmp_path / "two.csv", index=False)
    first, one = (variable(world, root=world, **fields)[0]["text"] for fields in
                  ({}, {"data_path": tmp_path / "one.csv"}))  # fmt: skip
    assert "captions=first" not in caplog.text
    two = variable(world, root=world, data_path=tmp_path / "two.csv")[0]["text"]
    assert "it has the first caption of each clip" in caplog.text
    assert first == one == two
