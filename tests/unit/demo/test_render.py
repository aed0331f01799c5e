"""Shapes have the areas of geometry, at any place between the pixels."""

import numpy as np
import pytest

from opensora.demo.render import coverage, render_film, render_scene
from opensora.demo.world import COLOURS, plan_film, plan_still


@pytest.mark.parametrize(
    ("shape", "unit_area"), [("circle", np.pi / 4), ("square", 1.0), ("triangle", 1.12 / 2)]
)
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5])
def test_a_shape_covers_its_area(shape: str, unit_area: float, shift: float) -> None:
    at = np.arange(80) + 0.5 - 40
    cover = coverage(shape, at + shift, at - shift, 50.0)
    assert cover.sum() == pytest.approx(unit_area * 50**2, rel=0.01)
    assert (cover.min(), cover.max()) == (0, 1)


def test_a_triangle_points_up_and_a_square_fills_its_corners() -> None:
    at = np.arange(60) + 0.5 - 30
    triangle, square, circle = (
        coverage(shape, at, at, 40.0) for shape in ("triangle", "square", "circle")
    )
    assert triangle[12].sum() < 4 < 40 < triangle[48].sum()
    assert square[11, 11] == 1
    assert circle[11, 11] == 0


def test_the_object_moves_by_its_step_in_its_colour() -> None:
    film = plan_film(5, 0, 1, path="a.mp4")
    scene = film.scenes[0]
    frames = render_film(film)
    assert frames.shape == (scene.num_frames, film.height, film.width, 3)
    ground = scene.background.pixels(film.height, film.width)
    centroids = []
    for frame in frames[[0, -1]]:
        changed = np.abs(frame - ground).sum(axis=-1) > 60
        y, x = np.nonzero(changed)
        centroids.append(np.array([x.mean(), y.mean()]))
        colours, counts = np.unique(frame[changed], axis=0, return_counts=True)
        assert tuple(colours[counts.argmax()]) == COLOURS[scene.combination.colour]
    moved = np.array(scene.step) * (scene.num_frames - 1)
    assert centroids[1] - centroids[0] == pytest.approx(moved, abs=0.7)


def test_a_still_is_one_frame() -> None:
    still = plan_still(5, 0, path="a.png")
    assert render_scene(still.scenes[0], 128, 96).shape == (1, 128, 96, 3)
