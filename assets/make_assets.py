"""Draw the pictures and the clip beside this file: `python assets/make_assets.py`.

Sampling configs and the examples of docs/ take them as references. Everything is computed from
formulas and hashed lattices, nothing is photographed or downloaded, and every run gives the same
pixels. Coordinates: x to the right and y down, in heights of the picture; colours 0 to 1.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from opensora.media.encode import write_video

Array = NDArray[np.float64]
Colour = tuple[float, float, float]

FOLDER = Path(__file__).parent
HEIGHT, WIDTH = 240, 426  # the size that the configs of Open-Sora 1.1 sample
FINE = 2  # pixels are averages of FINE x FINE computed ones
NUM_FRAMES, FPS = 48, 24  # of the clip
WIDE = WIDTH / HEIGHT


# ---------------------------------------------------------------- tools of drawing


def coordinates() -> tuple[Array, Array]:
    """Return x and y of every computed pixel, [FINE * HEIGHT, FINE * WIDTH]."""
    y, x = np.mgrid[0 : FINE * HEIGHT, 0 : FINE * WIDTH]
    return (x + 0.5) / (FINE * HEIGHT), (y + 0.5) / (FINE * HEIGHT)


def noise(x: Array, y: Array, seed: int, octaves: int = 5) -> Array:
    """Smooth noise around 0.5 with features of size 1 and, at lower strength, finer ones."""
    total, strength, weight = np.zeros(np.broadcast(x, y).shape), 1.0, 0.0
    for octave in range(octaves):
        total += strength * _lattice(x * 2**octave, y * 2**octave, seed + octave)
        weight += strength
        strength /= 2
    return total / weight


def _lattice(x: Array, y: Array, seed: int) -> Array:
    """Random values at whole coordinates, smooth between them."""
    x, y = np.broadcast_arrays(x, y)
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, down = _ease(x - column), _ease(y - row)
    i, j = (np.arange(cells.min(), cells.max() + 2) for cells in (column, row))
    values = _hash(i, j[:, None], seed)
    column, row = column - i[0], row - j[0]
    upper, lower = (
        values[below, column] + (values[below, column + 1] - values[below, column]) * right
        for below in (row, row + 1)
    )
    return np.asarray(upper + (lower - upper) * down)


def _hash(i: NDArray[np.int64], j: NDArray[np.int64], seed: int) -> Array:
    """One value from 0 to 1 for every pair and seed."""
    mixed = (i * 374761393 + j * 668265263 + seed * 2147483647) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return np.asarray(((mixed ^ (mixed >> 16)) & 0xFFFF) / 65535.0)


def _ease(t: Array) -> Array:
    return t * t * (3 - 2 * t)


def step(low: float | Array, high: float | Array, value: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between them."""
    return _ease(np.clip((value - low) / (np.asarray(high) - low), 0, 1))


def paint(picture: Array, colour: Colour | Array, share: Array) -> Array:
    """Cover a picture, [H, W, 3], with a colour where `share`, [H, W], is 1."""
    return picture + (np.asarray(colour) - picture) * share[..., None]


def ramp(value: Array, *stops: tuple[float, Colour]) -> Array:
    """Colours that change along `value`; stops are (value, colour) in rising order."""
    places = [place for place, _ in stops]
    channels = [np.interp(value, places, [colour[c] for _, colour in stops]) for c in range(3)]
    return np.stack(channels, axis=-1)


def disc(x: Array, y: Array, cx: float, cy: float, radius: float) -> Array:
    """A filled circle with a soft edge."""
    return 1 - step(radius * 0.94, radius * 1.06, np.hypot(x - cx, y - cy))


def box(x: Array, y: Array, left: float, top: float, right: float, bottom: float) -> Array:
    """A filled rectangle with a soft edge."""
    soft = 0.002
    inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
    return step(-soft, soft, inside)


def finished(picture: Array) -> NDArray[np.uint8]:
    """Average computed pixels and round to uint8 [HEIGHT, WIDTH, 3]."""
    fine = np.clip(picture, 0, 1).reshape(HEIGHT, FINE, WIDTH, FINE, 3)
    return (fine.mean(axis=(1, 3)) * 255 + 0.5).astype(np.uint8)


# ---------------------------------------------------------------- sky and sea

GOLD: Colour = (1.0, 0.84, 0.52)


def sky(x: Array, y: Array, horizon: float, sun: tuple[float, float], warmth: float) -> Array:
    """A clear sky with streaks of cloud; `warmth` 0 is the morning, 1 the dusk."""
    height = np.clip((horizon - y) / horizon, 0, 1)  # 0 at the horizon, 1 at the top
    morning = ramp(
        height, (0, (0.99, 0.86, 0.66)), (0.35, (0.72, 0.78, 0.86)), (1, (0.3, 0.5, 0.76))
    )
    dusk = ramp(height, (0, (0.98, 0.5, 0.2)), (0.3, (0.77, 0.32, 0.36)), (1, (0.16, 0.14, 0.36)))
    picture = morning + (dusk - morning) * warmth
    distance = np.hypot(x - sun[0], (y - sun[1]) * 1.3)
    light = np.exp(-distance / 0.28)
    picture = picture + light[..., None] * np.array([0.42, 0.26, 0.06])
    streaks = noise(x * 2.1 + y * 0.6, y * 11 + 3, 11)
    cloud = step(0.5, 0.72, streaks) * step(0.02, 0.25, height) * 0.85
    lit = ramp(np.clip(light * 1.8, 0, 1), (0, (0.62, 0.5, 0.6)), (1, (1.0, 0.86, 0.66)))
    picture = paint(picture, lit, cloud * (0.55 + 0.45 * step(0.45, 0.8, streaks)))
    return paint(picture, (1.0, 0.97, 0.86), disc(x, y, *sun, 0.045))


def sea(picture: Array, horizon: float, sun_x: float, warmth: float, drift: float = 0.0) -> Array:
    """Water below the horizon with waves in perspective and the sun's path on it."""
    x, y = coordinates()
    below = np.clip(y - horizon, 1e-3, None)
    depth = 1 / (below + 0.035)
    across, along = (x - WIDE / 2) * depth * 1.1, depth * 3.2
    swell = noise(across + drift, along - drift * 0.7, 21)
    ripple = noise(across * 2.7 - drift, along * 2.1 + drift, 22, octaves=3)
    near = np.clip(below / (1 - horizon), 0, 1)
    calm = ramp(near, (0, (0.62, 0.7, 0.74)), (0.25, (0.24, 0.46, 0.56)), (1, (0.05, 0.2, 0.29)))
    late = ramp(near, (0, (0.7, 0.4, 0.3)), (0.25, (0.34, 0.25, 0.36)), (1, (0.07, 0.08, 0.18)))
    water = calm + (late - calm) * warmth
    water = water * (0.72 + 0.56 * swell[..., None])
    width = 0.035 + near * 0.17
    path = np.exp(-(((x - sun_x) / width) ** 2)) * step(0.5, 0.66, ripple)
    water = paint(water, np.array([1.0, 0.8 - 0.2 * warmth, 0.48 - 0.18 * warmth]), path * 0.9)
    crest = step(0.56, 0.7, ripple) * step(0.58, 0.74, swell) * step(0.1, 0.5, near) * 0.45
    water = paint(water, (0.93, 0.94, 0.92), crest)
    return paint(picture, water, step(0, 0.004, y - horizon))


def seascape(sun_y: float, warmth: float) -> NDArray[np.uint8]:
    """An open sea with the sun above it."""
    x, y = coordinates()
    sun = (1.12, sun_y)
    picture = sky(x, y, 0.56, sun, warmth)
    return finished(sea(picture, 0.56, sun[0], warmth))


# ---------------------------------------------------------------- the coast


def rock(picture: Array, left: float, height: float, foot: float, seed: int, haze: float) -> Array:
    """A headland that rises from the sea at `left` and leaves the picture at the right."""
    x, y = coordinates()
    jag = noise(x * 5, y * 9, seed) - 0.5
    edge = x - left + 0.22 * jag
    ridge = noise(x * 2.4, np.full_like(y, seed), seed, octaves=6)
    top = foot - height * step(0, 0.16, edge) * (0.66 + 0.5 * ridge) - 0.05 * edge
    land = (
        step(0, 0.005, y - top) * (1 - step(0, 0.006, y - foot - 0.02 * jag)) * step(0, 0.01, edge)
    )
    layers = noise(x * 3, y * 26 + 3 * noise(x * 4, y * 3, seed + 3), seed + 1)
    cracks = noise(x * 22, y * 5, seed + 5)
    slope = noise(x * 9 - 0.05, y * 7, seed + 7) - noise(x * 9 + 0.05, y * 7, seed + 7)
    light = np.clip(0.5 + 3.2 * slope + 0.7 * (cracks - 0.5) + 0.5 * (layers - 0.5), 0, 1)
    stone = ramp(light, (0, (0.13, 0.09, 0.1)), (0.5, (0.45, 0.31, 0.24)), (1, (0.95, 0.72, 0.46)))
    turf = noise(x * 30, y * 40, seed + 9)
    green = ramp(turf, (0.25, (0.16, 0.22, 0.09)), (0.75, (0.62, 0.6, 0.25)))
    grassy = 1 - step(0.03, 0.1, y - top - 0.09 * (cracks - 0.4))
    stone = paint(stone, green, grassy)
    stone = paint(stone, (0.93, 0.68, 0.5), np.full_like(x, haze))
    return paint(picture, stone, land)


def surf(picture: Array, left: float, foot: float, seed: int, size: float) -> Array:
    """Foam where the sea breaks on a headland."""
    x, y = coordinates()
    flakes = noise(x * 13, y * 30, seed)
    reach = size * (0.4 + 1.2 * noise(x * 4, np.full_like(y, seed), seed + 1))
    close = np.exp(-(((y - foot - 0.012) / reach) ** 2)) * step(-0.2, 0.02, x - left)
    spray = step(0.5, 0.95, close * 0.75 + flakes * 0.55)
    shade = ramp(flakes, (0.3, (0.72, 0.7, 0.74)), (0.7, (1.0, 0.96, 0.88)))
    return paint(picture, shade, spray * 0.95)


def cliff() -> NDArray[np.uint8]:
    """A rugged coast in golden light with a lighthouse on an island in the distance."""
    x, y = coordinates()
    horizon, sun = 0.4, (0.42, 0.285)
    picture = sea(sky(x, y, horizon, sun, 0.35), horizon, sun[0], 0.3)
    island = 0.405 - 0.03 * np.sqrt(np.clip(1 - ((x - 0.13) / 0.1) ** 2, 0, 1))
    island -= 0.008 * noise(x * 40, y * 0, 41)
    picture = paint(
        picture, (0.42, 0.28, 0.27), step(0, 0.004, y - island) * box(x, y, 0.03, 0, 0.23, 0.409)
    )
    picture = paint(picture, (0.96, 0.86, 0.78), box(x, y, 0.127, 0.305, 0.139, 0.375))
    picture = paint(picture, (0.55, 0.16, 0.13), box(x, y, 0.125, 0.292, 0.141, 0.306))
    for left, height, foot, seed, haze in (
        (0.7, 0.17, 0.45, 51, 0.45),
        (0.86, 0.34, 0.58, 61, 0.22),
        (1.12, 0.6, 0.86, 71, 0.0),
    ):
        picture = rock(picture, left, height, foot, seed, haze)
        picture = surf(picture, left, foot, seed + 30, 0.012 + 0.05 * (1 - haze * 2.2))
    return finished(picture)


# ---------------------------------------------------------------- the hall


def hall(x: Array, y: Array) -> Array:
    """A vaulted hall in perspective: columns to both sides, tall windows between them."""
    side = (x - WIDE / 2) / (WIDE / 2)  # -1 at the left wall, 1 at the right
    up = (y - 0.46) / 0.46
    far = np.maximum(np.abs(side), np.abs(up) * 0.82)  # 1 near, 0 at the vanishing point
    depth = 1 / np.clip(far, 0.16, None)
    picture = ramp(
        far, (0.16, (0.98, 0.88, 0.68)), (0.5, (0.72, 0.55, 0.37)), (1, (0.32, 0.22, 0.16))
    )
    grain = noise(x * 30, y * 30, 81, octaves=3)
    picture = picture * (0.9 + 0.2 * grain[..., None])
    is_wall = step(-0.01, 0.01, np.abs(side) - np.abs(up) * 0.82)
    bay = (depth * 1.35) % 1  # where between two columns, along the wall
    height = up / np.clip(far, 0.16, None)  # -1 the top of the wall
    arch = np.clip(height + 0.62, None, 0) * 0.9
    inside = np.hypot((bay - 0.5) * 1.5, arch) < 0.36
    window = is_wall * inside * (height < 0.42)
    bars = (np.abs(bay - 0.5) < 0.02) | (np.abs((height * 3) % 1 - 0.5) < 0.05)
    glow = ramp(np.clip(-height, -0.5, 1), (-0.5, (0.93, 0.87, 0.72)), (1, (0.74, 0.85, 0.97)))
    picture = paint(picture, glow, window * np.where(bars, 0.25, 0.95))
    column = is_wall * (1 - step(0.07, 0.09, np.minimum(bay, 1 - bay)))
    round_ = ramp(np.minimum(bay, 1 - bay), (0, (0.9, 0.76, 0.56)), (0.09, (0.38, 0.26, 0.18)))
    picture = paint(picture, round_, column * 0.92)
    coffer = (
        (1 - is_wall)
        * (up < 0)
        * ((np.abs((depth * 2.7) % 1 - 0.5) < 0.07) | (np.abs((side / far * 3) % 1 - 0.5) < 0.04))
    )
    picture = paint(picture, (0.86, 0.66, 0.38), coffer * 0.6)
    end = box(x, y, WIDE / 2 - 0.12, 0.3, WIDE / 2 + 0.12, 0.56)
    return paint(picture, (1.0, 0.95, 0.82), end * 0.8)


def surfer(picture: Array, cx: float, cy: float, size: float, suit: Colour) -> Array:
    """A small figure on a board, leaning into the wave."""
    x, y = coordinates()
    dx, dy = (x - cx) / size, (y - cy) / size
    board = 1 - step(0.9, 1.05, np.hypot(dx / 1.15, (dy - 0.25 * dx) / 0.13))
    legs = 1 - step(0.85, 1.1, np.hypot((dx + 0.12 + 0.35 * dy) / 0.17, (dy + 0.38) / 0.42))
    body = 1 - step(0.85, 1.1, np.hypot((dx - 0.12 + 0.4 * (dy + 1)) / 0.17, (dy + 0.98) / 0.38))
    arms = 1 - step(0.8, 1.1, np.hypot(dx / 0.62, (dy + 1.12 + 0.3 * dx) / 0.09))
    head = disc(dx, dy, 0.16, -1.5, 0.17)
    picture = paint(picture, (0.97, 0.95, 0.85), board)
    picture = paint(picture, suit, np.maximum(np.maximum(legs, body), arms))
    return paint(picture, (0.55, 0.36, 0.25), head)


def wave() -> NDArray[np.uint8]:
    """A huge wave that breaks in an old hall, and two surfers on its face."""
    x, y = coordinates()
    picture = hall(x, y)
    rough = noise(x * 7, y * 7, 91) - 0.5
    lift = np.exp(-(((x - 0.55) / 0.42) ** 2))  # the wave peaks left of the middle
    crest = 0.78 - 0.5 * lift + 0.03 * rough + 0.02 * (noise(x * 3, x * 0, 92) - 0.5)
    inside = y - crest  # depth below the crest
    flow = noise((x + 0.55 * inside) * 3 - 1.5 * inside, (inside + 0.4 * x) * 16, 93)
    deep = np.clip(inside / 0.5, 0, 1)
    water = ramp(deep, (0, (0.62, 0.88, 0.84)), (0.3, (0.16, 0.56, 0.62)), (1, (0.03, 0.2, 0.3)))
    water = water * (0.7 + 0.6 * flow[..., None])
    water = paint(water, (0.86, 0.97, 0.94), step(0.6, 0.78, flow) * (1 - 0.6 * deep))
    picture = paint(picture, water, step(0, 0.006, inside))
    flakes = noise(x * 26, y * 26, 94)
    lip = np.exp(-((inside / (0.025 + 0.06 * lift)) ** 2))
    picture = paint(picture, (0.97, 0.98, 0.97), step(0.5, 0.9, lip * 0.8 + (flakes - 0.35) * 0.9))
    spray = step(0.66, 0.74, noise(x * 70, y * 70, 95, octaves=3)) * np.exp(
        -(((inside + 0.05) / 0.08) ** 2)
    )
    picture = paint(picture, (1.0, 1.0, 0.98), spray * lift * 0.9)
    trough = step(0.5, 0.62, noise(x * 6, y * 24, 96)) * step(0.78, 0.95, y)
    picture = paint(picture, (0.9, 0.96, 0.95), trough * 0.75)
    picture = surfer(picture, 0.78, 0.56, 0.06, (0.1, 0.12, 0.2))
    picture = surfer(picture, 1.12, 0.76, 0.075, (0.72, 0.16, 0.12))
    return finished(picture)


# ---------------------------------------------------------------- the clip


def car(picture: Array, left: float, ground: float, turn: float) -> Array:
    """A small red car, seen from its side; `turn` is the angle of its wheels."""
    x, y = coordinates()
    dx, dy = x - left, y - ground
    shadow = 1 - step(0.6, 1.1, np.hypot((dx - 0.26) / 0.29, (dy - 0.005) / 0.022))
    picture = paint(picture, (0.05, 0.05, 0.06), shadow * 0.7)
    bonnet = 0.02 * step(0.34, 0.52, dx) + 0.012 * (1 - step(0.0, 0.08, dx))
    body = box(dx, dy, 0.0, -0.115, 0.52, -0.03) * step(0, 0.004, dy + 0.115 - bonnet)
    roof = -0.195 + 0.5 * (dx - 0.2) ** 2 * 1.4
    slant = np.minimum(dx - 0.07 - (-0.115 - dy) * -0.55, 0.39 - dx - (-0.11 - dy) * 0.9)
    cabin = step(0, 0.004, dy - roof) * step(0, 0.006, slant) * (dy < -0.105)
    shade = ramp(
        dy, (-0.2, (0.95, 0.32, 0.24)), (-0.1, (0.85, 0.13, 0.11)), (-0.03, (0.42, 0.05, 0.06))
    )
    picture = paint(picture, shade, np.maximum(body, cabin))
    glass = step(0, 0.004, dy - roof - 0.016) * step(0.008, 0.014, slant) * (dy < -0.118)
    pane = ramp(dy, (-0.2, (0.86, 0.92, 0.95)), (-0.115, (0.32, 0.42, 0.5)))
    picture = paint(picture, pane, glass * (np.abs(dx - 0.22) > 0.007))
    picture = paint(picture, (1.0, 0.95, 0.7), box(dx, dy, 0.5, -0.085, 0.522, -0.06))
    picture = paint(picture, (0.98, 0.75, 0.6), box(dx, dy, 0.02, -0.075, 0.5, -0.071) * 0.8)
    for centre in (0.115, 0.41):
        picture = paint(picture, (0.05, 0.05, 0.06), disc(dx, dy, centre, -0.035, 0.045))
        spoke = np.cos(5 * (np.arctan2(dy + 0.035, dx - centre) - turn)) > 0.1
        picture = paint(
            picture, (0.8, 0.8, 0.82), disc(dx, dy, centre, -0.035, 0.026) * (0.45 + 0.5 * spoke)
        )
    return picture


def drive() -> Iterator[NDArray[np.uint8]]:
    """Frames of a car on a road by the sea; the camera keeps up with it."""
    x, y = coordinates()
    horizon, sun = 0.4, (1.3, 0.22)
    above = sky(x, y, horizon, sun, 0.1)
    for frame in range(NUM_FRAMES):
        way = frame / FPS * 0.9  # heights of the picture that the road has moved
        picture = sea(above, horizon, sun[0], 0.05, drift=frame / FPS * 0.35)
        for speed, top, seed, colour in (
            (0.03, 0.36, 3, (0.55, 0.6, 0.7)),
            (0.08, 0.385, 5, (0.36, 0.44, 0.5)),
        ):
            hills = top + 0.045 * (0.5 - noise(x * 2.6 + way * speed * 3, x * 0, seed)) * 2
            picture = paint(picture, colour, step(0, 0.004, y - hills) * (y < horizon + 0.004))
        picture = _roadside(picture, way)
        bounce = 0.002 * np.sin(frame * 0.9)
        left = 0.62 + 0.06 * np.sin(2 * np.pi * frame / NUM_FRAMES)
        picture = car(picture, left, 0.845 + bounce, turn=way / 0.045)
        yield finished(picture)


def _roadside(picture: Array, way: float) -> Array:
    """Grass, a rail on posts, asphalt with a broken line: what passes by close to the camera."""
    x, y = coordinates()
    turf = noise((x + way) * 26, y * 50, 101, octaves=4)
    verge = 0.69 + 0.02 * (noise((x + way) * 5, x * 0, 102) - 0.5)
    green = ramp(turf, (0.25, (0.2, 0.3, 0.12)), (0.75, (0.66, 0.68, 0.3)))
    picture = paint(picture, green, step(0, 0.008, y - verge))
    post = np.abs(((x + way) / 0.3) % 1 - 0.5) < 0.03
    picture = paint(picture, (0.62, 0.6, 0.58), post * box(x, y, -1, 0.64, 9, 0.745))
    rail = ramp(y, (0.648, (0.95, 0.95, 0.94)), (0.672, (0.5, 0.52, 0.55)))
    picture = paint(picture, rail, box(x, y, -1, 0.648, 9, 0.672))
    grit = noise((x + way) * 90, y * 120, 103, octaves=2)
    asphalt = ramp(grit, (0.2, (0.24, 0.24, 0.26)), (0.8, (0.37, 0.36, 0.37)))
    picture = paint(picture, asphalt, step(0, 0.004, y - 0.745))
    picture = paint(picture, (0.86, 0.84, 0.78), box(x, y, -1, 0.757, 9, 0.766))
    dash = ((x + way * 1.15) / 0.62) % 1 < 0.55
    return paint(picture, (0.92, 0.9, 0.82), dash * box(x, y, -1, 0.925, 9, 0.945))


PICTURES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "images/condition/cliff.png": cliff,
    "images/condition/wave.png": wave,
    "images/condition/sunset1.png": lambda: seascape(0.3, 0.25),
    "images/condition/sunset2.png": lambda: seascape(0.53, 0.95),
}
CLIP = "videos/coast-road.mp4"


def main() -> None:
    """Write all files."""
    for name, draw in PICTURES.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw()).save(path, optimize=True)
    (FOLDER / CLIP).parent.mkdir(exist_ok=True)
    write_video(FOLDER / CLIP, np.stack(list(drive())), FPS, crf=24)


if __name__ == "__main__":
    main()
