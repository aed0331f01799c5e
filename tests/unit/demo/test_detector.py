"""The detector is right on real clips at training size, and silent where there is nothing."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from opensora.demo.detector import Detection, detect
from opensora.demo.render import render_scene
from opensora.demo.world import Film, Scene, plan_film

NUM_FILMS, NUM_SCENES = 16, 8
Clip = tuple[Film, Scene, np.ndarray]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """16 frames at 8 frames a second, reduced to the training size of the aspect ratio."""
    made = []
    for index in range(NUM_FILMS):
        film = plan_film(11, index, NUM_SCENES, path="a.mp4")
        size = {0: (32, 32), -1: (24, 40), 1: (40, 24)}[int(np.sign(film.height - film.width))]
        for scene in film.scenes:
            frames = render_scene(scene, film.height, film.width)
            indices = (np.arange(16) * float(film.fps) / 8).astype(int)
            made.append((film, scene, resized(frames[indices], size)))
    assert {clip.shape[1:3] for _, _, clip in made} == {(32, 32), (24, 40), (40, 24)}
    return made


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.stack([cv2.resize(f, size[::-1], interpolation=cv2.INTER_AREA) for f in frames])


def degraded(frames: np.ndarray, blur: float, psnr_db: float) -> np.ndarray:
    """Blur, then add white noise of this peak signal-to-noise ratio."""
    soft = np.stack([cv2.GaussianBlur(f.astype(np.float32), (0, 0), blur) for f in frames])
    noise = np.random.default_rng(0).normal(0, 255 / 10 ** (psnr_db / 20), frames.shape)
    return np.clip(soft + noise + 0.5, 0, 255).astype(np.uint8)


def accuracy(clips: list[Clip], change: Callable[[np.ndarray], np.ndarray]) -> float:
    right = [
        detect(change(frames))
        == Detection(scene.combination.colour, scene.combination.shape, scene.combination.direction)
        for _, scene, frames in clips
    ]
    return float(np.mean(right))


def test_real_clips_at_training_size_are_recognised(clips: list[Clip]) -> None:
    assert accuracy(clips, lambda frames: frames) >= 0.99


@pytest.mark.parametrize(("blur", "psnr_db"), [(0.6, 32.0), (1.0, 28.0)])
def test_blur_and_noise_beyond_those_of_the_autoencoder_do_no_harm(
    clips: list[Clip], blur: float, psnr_db: float
) -> None:
    assert accuracy(clips, lambda frames: degraded(frames, blur, psnr_db)) >= 0.99


def test_large_clips_are_recognised_too(clips: list[Clip]) -> None:
    few = [
        (film, scene, render_scene(scene, film.height, film.width)[::3])
        for film, scene, _ in clips[::12]
    ]
    assert accuracy(few, lambda frames: frames) == 1.0


def test_played_backwards_the_direction_turns_round_and_the_rest_stays(clips: list[Clip]) -> None:
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    for _, scene, frames in clips[:20]:
        what = scene.combination
        expected = Detection(what.colour, what.shape, opposite[what.direction])
        assert detect(frames[::-1]) == expected


def test_turned_a_quarter_a_clip_moves_another_way(clips: list[Clip]) -> None:
    turned = {"left": "down", "right": "up", "up": "left", "down": "right"}
    for _, scene, frames in clips[:20]:
        seen = detect(np.ascontiguousarray(np.rot90(frames, axes=(1, 2))))
        assert seen.colour == scene.combination.colour
        assert seen.direction == turned[scene.combination.direction]


def test_a_single_frame_has_colour_and_shape_but_no_direction(clips: list[Clip]) -> None:
    _, scene, frames = clips[0]
    expected = Detection(scene.combination.colour, scene.combination.shape, None)
    assert detect(frames[7:8]) == expected
    assert detect(np.repeat(frames[7:8], 16, axis=0)) == expected  # it stands still


def test_an_empty_scene_and_noise_show_nothing(clips: list[Clip]) -> None:
    _, scene, _ = clips[0]
    empty = scene.background.pixels(32, 32).astype(np.uint8)[None].repeat(8, axis=0)
    assert detect(empty) == Detection(None, None, None)
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    seen = detect(noise)
    assert (seen.shape, seen.direction) == (None, None)


@pytest.mark.parametrize("colour", [(200, 40, 220), (30, 200, 210)])
def test_a_colour_that_is_none_of_the_four_is_not_named(colour: tuple[int, int, int]) -> None:
    frames = np.full((4, 32, 32, 3), 150, np.uint8)
    frames[:, 8:24, 8:24] = colour
    assert detect(frames) == Detection(None, "square", None)


def test_a_diagonal_move_is_none_of_the_four_directions() -> None:
    frames = np.full((12, 32, 32, 3), 150, np.uint8)
    for k, frame in enumerate(frames):
        frame[2 + k : 16 + k, 2 + k : 16 + k] = (228, 46, 36)
    assert detect(frames) == Detection("red", "square", None)


@pytest.mark.parametrize("shape", [(32, 32, 3), (0, 32, 32, 3), (4, 3, 32, 32)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detect(np.zeros(shape, np.uint8))
