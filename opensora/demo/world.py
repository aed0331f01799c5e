"""What the demo world contains: combinations, captions, and the plan of every film and still.

A plan is a pure function of the seed, so films can be rendered in any order by any number of
workers and give the same bytes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from opensora.core.seed import derive_seed
from opensora.demo.background import Background, differing_background, sample_background

# saturated, far apart in hue (degrees 5, 140, 218, 48), RGB
COLOURS = {
    "red": (228, 46, 36),
    "green": (24, 176, 74),
    "blue": (34, 96, 232),
    "yellow": (250, 206, 20),
}
# height and width over the object's size; equal widths make the corners the difference
SHAPES = {"circle": (1.0, 1.0), "square": (1.0, 1.0), "triangle": (1.0, 1.12)}
# unit vector (x to the right, y down)
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

TEMPLATES = (
    "a {colour} {shape} moving {direction}",
    "a {colour} {shape} slides {direction}",
    "the {colour} {shape} is going {direction}",
    "{colour} {shape} travels {direction}",
    "one {colour} {shape} heading {direction}",
    "watch a {colour} {shape} move {direction}",
)
STILL_TEMPLATES = (
    "a {colour} {shape}",
    "a still {colour} {shape}",
    "the {colour} {shape} at rest",
    "{colour} {shape}",
    "one {colour} {shape}",
    "a picture of a {colour} {shape}",
)

SQUARE_SIZES = ((128, 128), (128, 128), (144, 144), (128, 128), (112, 112), (128, 128))
WIDE_SIZES = ((96, 160), (108, 180))  # (height, width), ratio 0.60
TALL_SIZES = ((160, 96), (180, 108))  # ratio 1.67
RATES = tuple(map(Fraction, ("24", "30", "12", "25", "30000/1001", "15")))

OBJECT_SIZE = (0.50, 0.58)  # of the short side
MARGIN = 0.03  # of each side, kept free around the room in which an object moves
SCENE_S = (2.15, 2.60)  # seconds
TRAVEL = (0.70, 1.00)  # part of its room that an object crosses in TRAVEL_S
TRAVEL_S = 2.0


@dataclass(frozen=True, order=True)
class Combination:
    """One of the 48 things that can be shown; direction is "" for a still."""

    colour: str
    shape: str
    direction: str

    def caption(self, template: str) -> str:
        """Fill a template."""
        return template.format(colour=self.colour, shape=self.shape, direction=self.direction)


ALL = tuple(itertools.starmap(Combination, itertools.product(COLOURS, SHAPES, DIRECTIONS)))
# Never shown in any video. Every colour and direction loses two of its twelve, a shape at most
# three of sixteen, and no pair (colour, shape), (colour, direction), (shape, direction) is lost.
HELD_OUT = tuple(
    Combination(list(COLOURS)[k // 2], list(SHAPES)[k % 3], list(DIRECTIONS)[(k // 2 + k % 2) % 4])
    for k in range(8)
)
SEEN = tuple(combination for combination in ALL if combination not in HELD_OUT)


@dataclass(frozen=True)
class Scene:
    """One object on one background.

    Attributes:
        combination: what is shown.
        caption: the sentence about it.
        num_frames: length.
        size: height of the object in pixels.
        start: (x, y) of the middle of the object's bounding box in the first frame, pixels.
        step: (x, y) moved from one frame to the next, pixels.
        background: what is behind it.
    """

    combination: Combination
    caption: str
    num_frames: int
    size: float
    start: tuple[float, float]
    step: tuple[float, float]
    background: Background


@dataclass(frozen=True)
class Film:
    """A raw video: scenes joined by hard cuts; a still is a film of one frame."""

    path: str
    height: int
    width: int
    fps: Fraction
    scenes: tuple[Scene, ...]


def plan_film(
    seed: int, index: int, num_scenes: int, *, path: str, colours: Sequence[str] = tuple(COLOURS)
) -> Film:
    """Plan film number `index`; of SEEN those of some colours appear, each equally often."""
    shown = [combination for combination in SEEN if combination.colour in colours]
    rng = np.random.default_rng(derive_seed(seed, "film", index))
    height, width = _frame_size(index)
    fps = RATES[index % len(RATES)]
    scenes: list[Scene] = []
    for number in range(num_scenes):
        combination = _balanced(seed, "scenes", index * num_scenes + number, shown)
        caption = combination.caption(TEMPLATES[rng.integers(len(TEMPLATES))])
        before = scenes[-1].background if scenes else None
        background = differing_background(rng, before) if before else sample_background(rng)
        scenes.append(_plan_scene(rng, combination, caption, background, height, width, fps))
    return Film(path, height, width, fps, tuple(scenes))


def plan_still(
    seed: int, index: int, *, path: str, colours: Sequence[str] = tuple(COLOURS)
) -> Film:
    """Plan still image number `index`: any place, no direction."""
    rng = np.random.default_rng(derive_seed(seed, "still", index))
    height, width = _frame_size(index)
    pairs = [
        Combination(colour, shape, "")
        for colour in COLOURS
        if colour in colours
        for shape in SHAPES
    ]
    combination = _balanced(seed, "stills", index, pairs)
    caption = combination.caption(STILL_TEMPLATES[rng.integers(len(STILL_TEMPLATES))])
    size = rng.uniform(*OBJECT_SIZE) * min(height, width)
    corner, room = _room(combination.shape, size, height, width)
    x, y = map(float, corner + rng.uniform(size=2) * room)
    scene = Scene(combination, caption, 1, size, (x, y), (0.0, 0.0), sample_background(rng))
    return Film(path, height, width, Fraction(1), (scene,))


def prompts(seed: int) -> list[tuple[str, Combination, str]]:
    """List (prompt, combination, split): every held-out caption, and as many seen ones.

    The seen ones cover all 40 combinations before one comes twice, and no sentence repeats.
    """
    held_out = [
        (combination.caption(template), combination, "heldout")
        for template in TEMPLATES  # outside: neighbours in the report show different things
        for combination in HELD_OUT
    ]
    rng = np.random.default_rng(derive_seed(seed, "prompts"))
    order = rng.permutation(len(SEEN))
    seen = []
    for k in range(len(held_out)):
        combination = SEEN[order[k % len(SEEN)]]
        template = TEMPLATES[(k + k // len(SEEN)) % len(TEMPLATES)]
        seen.append((combination.caption(template), combination, "seen"))
    return held_out + seen


def _frame_size(index: int) -> tuple[int, int]:
    """Six of eight are square, one is wide, one is tall."""
    group, place = divmod(index, 8)
    if place == 2:
        return WIDE_SIZES[group % len(WIDE_SIZES)]
    if place == 5:
        return TALL_SIZES[group % len(TALL_SIZES)]
    return SQUARE_SIZES[index % len(SQUARE_SIZES)]


def _balanced(
    seed: int, name: str, index: int, choices: tuple[Combination, ...] | list[Combination]
) -> Combination:
    """Deal the choices like a deck of cards that is shuffled anew whenever it is used up."""
    deck, place = divmod(index, len(choices))
    order = np.random.default_rng(derive_seed(seed, name, deck)).permutation(len(choices))
    return choices[order[place]]


def _room(shape: str, size: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place for the middle of an object, and how far it may go from there.

    Both are (x, y) in pixels.
    """
    tall, wide = (size * side for side in SHAPES[shape])
    box, frame = np.array([wide, tall]), np.array([width, height])
    return MARGIN * frame + box / 2, (1 - 2 * MARGIN) * frame - box


def _plan_scene(
    rng: np.random.Generator,
    combination: Combination,
    caption: str,
    background: Background,
    height: int,
    width: int,
    fps: Fraction,
) -> Scene:
    num_frames = int(np.ceil(rng.uniform(*SCENE_S) * float(fps)))
    duration_s = num_frames / float(fps)
    size = rng.uniform(*OBJECT_SIZE) * min(height, width)
    corner, room = _room(combination.shape, size, height, width)
    direction = np.array(DIRECTIONS[combination.direction])
    # faster only as long as the object stays inside to the end of the scene
    travel = rng.uniform(TRAVEL[0], min(TRAVEL[1], TRAVEL_S / duration_s))
    step = direction * room * travel / (TRAVEL_S * float(fps))
    way = step * (num_frames - 1)
    # where it may begin so that the whole way fits
    start = corner + np.maximum(0, -way) + rng.uniform(size=2) * (room - np.abs(way))
    return Scene(
        combination,
        caption,
        num_frames,
        float(size),
        (float(start[0]), float(start[1])),
        (float(step[0]), float(step[1])),
        background,
    )
