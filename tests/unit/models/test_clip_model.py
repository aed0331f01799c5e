import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from opensora.core.errors import CheckpointError
from opensora.models.clip_model import ClipModel, load_clip, save_clip, storyboard

CONFIG = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 12,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "model"
    save_clip(path, ClipModel(CONFIG, "storyboard"))
    return path


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)


def test_a_saved_model_is_also_open_clips(folder, images):
    clip = load_clip(folder)
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    network.eval()
    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
        expected_images = network.encode_image(pixels, normalize=True)
        expected_texts = network.encode_text(tokenizer(["a red circle"]), normalize=True)
    torch.testing.assert_close(clip.encode_images(images), expected_images, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        clip.encode_texts(["a red circle"]), expected_texts, atol=1e-5, rtol=1e-4
    )


def test_embeddings_are_unit_vectors_and_the_view_is_kept(folder, images):
    clip = load_clip(folder)
    assert clip.view == "storyboard"
    assert clip.identity()["view"] == "storyboard"
    norms = clip.encode_images(images).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(2), atol=1e-5, rtol=0)


def test_pixels_are_normalised_by_the_config():
    grey = np.full((1, 32, 32, 3), 255, np.uint8)
    pixels = ClipModel(CONFIG).preprocess(grey)
    assert pixels.shape == (1, 3, 32, 32)
    torch.testing.assert_close(pixels, torch.full_like(pixels, (1 - 0.5) / 0.25))


def test_a_storyboard_reads_like_a_comic():
    frames = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    board = storyboard(frames)
    assert board.shape == (4, 6, 3)
    assert [board[0, 0, 0], board[0, 5, 0], board[3, 0, 0], board[3, 5, 0]] == [0, 2, 4, 6]


def test_a_storyboard_of_an_image_repeats_it():
    image = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 3), dtype=np.uint8)
    assert np.array_equal(storyboard(image), np.tile(image[0], (2, 2, 1)))


def test_wrong_folders_and_views_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="view"):
        ClipModel(CONFIG, "video")
    with pytest.raises(ValueError, match="save and load"):
        ClipModel(CONFIG).identity()
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json is missing"):
        load_clip(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged, cut off"):
        load_clip(tmp_path)
