"""Draw the scenes of the demo world, anti-aliased to a fraction of a pixel."""

import numpy as np

from opensora.demo.world import COLOURS, SHAPES, Film, Scene


def render_film(film: Film) -> np.ndarray:
    """Draw all scenes one after the other; returns uint8 [T, H, W, 3] RGB."""
    return np.concatenate([render_scene(scene, film.height, film.width) for scene in film.scenes])


def render_scene(scene: Scene, height: int, width: int) -> np.ndarray:
    """Draw one scene; returns uint8 [T, H, W, 3] RGB."""
    ground = scene.background.pixels(height, width)  # [H, W, 3]
    frames = np.empty((scene.num_frames, height, width, 3), np.uint8)
    frames[:] = _rounded(ground)
    colour = np.array(COLOURS[scene.combination.colour], dtype=np.float32)
    reach = scene.size * max(SHAPES[scene.combination.shape]) / 2 + 1
    for index, frame in enumerate(frames):
        x = scene.start[0] + index * scene.step[0]
        y = scene.start[1] + index * scene.step[1]
        rows = slice(max(0, int(y - reach)), int(y + reach) + 1)
        columns = slice(max(0, int(x - reach)), int(x + reach) + 1)
        part = ground[rows, columns]
        offset_y = np.arange(rows.start, rows.start + part.shape[0]) + 0.5 - y
        offset_x = np.arange(columns.start, columns.start + part.shape[1]) + 0.5 - x
        cover = coverage(scene.combination.shape, offset_x, offset_y, scene.size)[..., None]
        frame[rows, columns] = _rounded(part + cover * (colour - part))
    return frames


def coverage(shape: str, x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Say how much of each pixel a shape covers.

    Args:
        shape: a name of SHAPES.
        x: [W] pixel middles relative to the middle of the bounding box, y grows downwards.
        y: [H].
        size: height of the shape in pixels; a triangle stands on its base.

    Returns:
        float32 [H, W], 0 outside to 1 inside, from the signed distance to the outline.
    """
    x, y = x[None, :].astype(np.float32), y[:, None].astype(np.float32)
    tall, wide = (size * side / 2 for side in SHAPES[shape])
    if shape == "circle":
        distance = np.hypot(x, y) - tall
    elif shape == "square":
        distance = np.maximum(np.abs(x) - wide, np.abs(y) - tall)
    else:
        # sides from the top (0, -tall) to the base corners (+-wide, tall)
        length = np.hypot(2 * tall, wide)
        sides = (np.abs(x) * 2 * tall - (y + tall) * wide) / length
        distance = np.maximum(sides, y - tall)
    return np.clip(0.5 - distance, 0, 1)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return (pixels + 0.5).astype(np.uint8)
