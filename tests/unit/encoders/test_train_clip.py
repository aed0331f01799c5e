import json
import math
from pathlib import Path

import pytest
import torch

from opensora.core.errors import ConfigError, TableError
from opensora.core.io import sha256_file
from opensora.core.seed import derive_seed
from opensora.encoders.train_clip import (
    ClipConfig,
    build_clip,
    contrastive,
    measure_retrieval,
    shift,
    train_clip,
)
from opensora.models.clip_model import load_clip
from opensora.tables.io import read_table, write_table

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 8,
        "width": 32,
        "layers": 1,
        "head_width": 16,
    },
    "text_cfg": {
        "context_length": 10,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}
PREPROCESS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize_mode": "longest"}
TINY = ClipConfig(
    model=MODEL, preprocess=PREPROCESS, num_steps=40, batch_size=8, warmup_steps=4, log_every=10
)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "clip"
    train_clip(TINY, [world.clips], [world.captions], folder)
    return folder


def test_the_loss_falls(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


def test_the_folder_loads_with_its_view(trained: Path) -> None:
    clip = load_clip(trained)
    assert clip.view == "storyboard"
    assert clip.encode_texts(["a red square"]).norm() == pytest.approx(1, abs=1e-5)


def test_only_the_embeddings_of_seen_tokens_move(world, trained: Path) -> None:
    torch.manual_seed(derive_seed(TINY.seed, "clip"))
    before = build_clip(TINY).network.token_embedding.weight
    clip = load_clip(trained)
    after = clip.network.token_embedding.weight
    seen = clip.tokenize(["a red square moving left", "a blue square moving right"]).unique()
    moved = (after != before).any(dim=1).nonzero().flatten()
    assert moved.tolist() == seen[seen > 0].tolist()  # 0 is padding, which nothing looks at


def test_equal_seeds_give_equal_bytes(world, trained: Path, tmp_path: Path) -> None:
    train_clip(TINY, [world.clips], [world.captions], tmp_path / "again")
    name = "open_clip_model.safetensors"
    assert sha256_file(tmp_path / "again" / name) == sha256_file(trained / name)


def test_equal_captions_are_no_negatives() -> None:
    # image 0 and 1 have the same caption: targets 1/2, 1/2, 0
    logits = torch.tensor([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    loss, accuracy = contrastive(logits, torch.tensor([0, 0, 1]))
    two = -(2 - math.log(2 * math.e**2 + 1))  # each of the first two
    one = -(2 - math.log(math.e**2 + 2))
    assert float(loss) == pytest.approx((2 * two + one) / 3, abs=1e-5)
    assert accuracy == 1


def test_all_four_frames_move_alike_and_the_border_repeats() -> None:
    frame = torch.arange(16.0).view(4, 4)
    images = frame.repeat(2, 2)[None, None].repeat(300, 3, 1, 1)
    moved = shift(images, 1, torch.Generator().manual_seed(0))
    seen = set()
    for image in moved[:, 0]:
        quarters = [image[:4, :4], image[:4, 4:], image[4:, :4], image[4:, 4:]]
        assert all(torch.equal(quarter, quarters[0]) for quarter in quarters)
        seen.add(tuple(quarters[0].flatten().tolist()))
    left = frame[:, [0, 0, 1, 2]]  # everything one to the right
    assert tuple(left.flatten().tolist()) in seen
    assert len(seen) == 9  # three by three offsets


def test_no_shift_changes_nothing() -> None:
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(shift(images, 0, torch.Generator()), images)


def test_a_clip_must_prefer_its_caption_to_all_that_differ_in_one_word() -> None:
    captions = ["a blue cat", "a red cat", "a red dog", "nothing alike at all"]

    class Network:
        def encode_image(self, images, normalize):
            return images

    class Fake:
        network = Network()

        def encode_texts(self, texts):
            return torch.eye(4)[: len(texts)]

    # clip 0 sees a red cat more than anything; clip 1 sees a red dog more than its caption
    images = torch.tensor([[0.1, 0.9, 0.5, 1.0], [0.1, 0.5, 0.9, 0.0]])
    report = measure_retrieval(Fake(), images, ["a red cat", "a red cat"], captions)
    assert report == {"num_clips": 2, "top1": 0.5, "pairs": 0.75}


def test_one_clip_is_too_few(world, tmp_path: Path) -> None:
    write_table(read_table(world.clips)[:1], tmp_path / "clips.csv")
    with pytest.raises(TableError, match="1 readable clip with a caption; expected two"):
        train_clip(TINY, [tmp_path / "clips.csv"], [world.captions], tmp_path / "clip")


def test_a_batch_larger_than_the_data_shrinks_with_a_warning(world, tmp_path, caplog) -> None:
    config = ClipConfig(model=MODEL, preprocess=PREPROCESS, num_steps=1, batch_size=500)
    train_clip(config, [world.clips], [world.captions], tmp_path / "clip")
    assert "batch shrunk batch_size=" in caplog.text


def test_a_model_that_open_clip_can_not_build_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"model.*patch_sise"):
        build_clip(
            ClipConfig(model={**MODEL, "vision_cfg": {**MODEL["vision_cfg"], "patch_sise": 8}})
        )
