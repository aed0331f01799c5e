import cv2
import numpy as np
import pytest

from opensora.curation.scores.camera import CameraScorer
from opensora.curation.scores.scorer import ClipFrames

WORLD = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8),
    (640, 480),
    interpolation=cv2.INTER_CUBIC,
)


def motion_of(matrices: list[np.ndarray]) -> str:
    """What the camera does where frame t shows the world through matrix t."""
    frames = np.stack([cv2.warpAffine(WORLD, matrix, (320, 240)) for matrix in matrices])
    clip = ClipFrames(frames, np.arange(len(frames)), len(frames) == 1)
    return str(CameraScorer().score([clip])["cmotion"][0])


def shift(right: float, down: float, steps: int = 9) -> list[np.ndarray]:
    """The picture moves by so many pixels a frame."""
    start = (-160, -120)
    return [
        np.float32([[1, 0, start[0] + right * t], [0, 1, start[1] + down * t]])
        for t in range(steps)
    ]


def turn(degrees: float, scale: float, steps: int = 9) -> list[np.ndarray]:
    """The picture turns and grows about its centre by so much a frame."""
    made = []
    for t in range(steps):
        matrix = cv2.getRotationMatrix2D((320, 240), degrees * t, scale**t)
        matrix[:, 2] -= (160, 120)
        made.append(matrix)
    return made


@pytest.mark.parametrize(
    ("matrices", "name"),
    [
        (shift(0, 0), "static"),
        (shift(0.05, 0), "static"),
        (shift(2, 0), "pan_left"),  # the world moves right where the camera turns left
        (shift(-2, 0.5), "pan_right"),
        (shift(0, 2), "tilt_up"),
        (shift(0.5, -2), "tilt_down"),
        (turn(0, 1.01), "zoom_in"),
        (turn(0, 0.99), "zoom_out"),
        (turn(0.6, 1), "roll"),
        (shift(0, 0, steps=1), "static"),
    ],
)
def test_the_motion_of_the_whole_picture_names_the_clip(
    matrices: list[np.ndarray], name: str
) -> None:
    assert motion_of(matrices) == name


def test_an_object_in_front_of_a_still_ground_is_no_camera_motion() -> None:
    frames = np.stack([WORLD[:240, :320].copy() for _ in range(9)])
    for t in range(9):
        frames[t, 60:160, 20 + 4 * t : 120 + 4 * t] = WORLD[300:400, 300:400]
    clip = ClipFrames(frames, np.arange(9), False)
    assert CameraScorer().score([clip])["cmotion"].tolist() == ["static"]


def test_without_structure_or_common_motion_nothing_is_claimed() -> None:
    rng = np.random.default_rng(1)
    for frames in (
        np.full((9, 120, 160, 3), 90, np.uint8),
        rng.integers(0, 256, (9, 120, 160, 3), dtype=np.uint8),
    ):
        clip = ClipFrames(frames, np.arange(9), False)
        assert CameraScorer().score([clip])["cmotion"].tolist() == ["undetermined"]
