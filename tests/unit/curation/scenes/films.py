"""Films whose scenes are cut, dissolve, or fade into each other, with the truth about them."""

from dataclasses import dataclass

import cv2
import numpy as np

HEIGHT, WIDTH = 72, 128
KINDS = ("cut", "dissolve", "fade")


@dataclass(frozen=True)
class Joint:
    """How two scenes meet; of a cut `first` and `last` are its first new frame."""

    kind: str
    first: int
    last: int


def scene(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """A textured ground with an object that crosses it, and a camera that is still, pans or zooms.

    Returns:
        float32 [T, HEIGHT, WIDTH, 3], 0 to 255.
    """
    cells = int(rng.integers(4, 14))
    colours = rng.uniform(0, 255, (cells, 2 * cells, 3)).astype(np.float32)
    ground = cv2.resize(colours, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    ground = np.clip(ground * rng.uniform(0.4, 1.0), 0, 255)
    move, pace = rng.choice(["still", "pan", "zoom"]), rng.uniform(-0.6, 0.6, 2)
    ball = rng.uniform(0, 255, 3)
    frames = np.empty((num_frames, HEIGHT, WIDTH, 3), np.float32)
    for t in range(num_frames):
        zoom = 1 + 0.003 * t if move == "zoom" else 1.0
        shift = pace * t if move == "pan" else (0.0, 0.0)
        matrix = np.array(
            [[zoom, 0, shift[0] - WIDTH / 2 * zoom], [0, zoom, shift[1] - HEIGHT / 2 * zoom]]
        )
        view = cv2.warpAffine(ground, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        place = (int(10 + 0.9 * t) % WIDTH, int(HEIGHT / 2 + 15 * np.sin(t / 9)))
        frames[t] = cv2.circle(view, place, 12, ball.tolist(), -1)
    noise = rng.normal(0, rng.uniform(0, 3), frames.shape).astype(np.float32)
    return np.clip(frames + noise, 0, 255)


def film(seed: int, *, num_scenes: int = 6, fps: int = 25) -> tuple[np.ndarray, list[Joint]]:
    """Render a film; every kind of joint comes in turn, 0.3 to 1.6 seconds long.

    Returns:
        uint8 [T, HEIGHT, WIDTH, 3] and the joints in order.
    """
    rng = np.random.default_rng(seed)
    margin = int(1.8 * fps)
    parts: list[np.ndarray] = []
    joints: list[Joint] = []
    tail = scene(rng, int(rng.uniform(1.0, 2.0) * fps) + margin)
    for number in range(num_scenes - 1):
        following = scene(rng, int(rng.uniform(1.0, 2.0) * fps) + 2 * margin)
        kind = KINDS[(number + seed) % len(KINDS)]
        length = int(rng.uniform(0.3, 1.6) * fps) if kind != "cut" else 0
        body, end = tail[: len(tail) - length], tail[len(tail) - length :]
        bridge, used = _bridge(rng, kind, end, following)
        first = sum(map(len, parts)) + len(body)
        joints.append(Joint(kind, first, first + len(bridge)))
        parts += [body, bridge]
        tail = following[used:]
    parts.append(tail)
    return np.concatenate(parts).round().astype(np.uint8), joints


def _bridge(
    rng: np.random.Generator, kind: str, end: np.ndarray, following: np.ndarray
) -> tuple[np.ndarray, int]:
    """The frames between two scenes, and how many of the second they use up."""
    length = len(end)
    share = ((np.arange(length) + 1) / (length + 1))[:, None, None, None].astype(np.float32)
    if kind == "cut":
        return end, 0
    if kind == "dissolve":
        return end * (1 - share) + following[:length] * share, length
    level = np.float32(rng.choice([0.0, 0.0, 255.0]))  # to black, seldom to white
    hold = np.full((int(rng.integers(0, 12)), HEIGHT, WIDTH, 3), level)
    out, back = end * (1 - share) + level * share, following[:length] * share + level * (1 - share)
    return np.concatenate([out, hold, back]), length
