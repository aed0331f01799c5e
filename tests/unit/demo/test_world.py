"""The plan: balanced, reproducible, and without the held-out combinations."""

import itertools
from collections import Counter

import numpy as np
import pytest

from opensora.demo.background import MIN_CUT_SCORE, Background, cut_score
from opensora.demo.world import (
    ALL,
    COLOURS,
    DIRECTIONS,
    HELD_OUT,
    MARGIN,
    SCENE_S,
    SEEN,
    SHAPES,
    STILL_TEMPLATES,
    TEMPLATES,
    TRAVEL,
    Film,
    plan_film,
    plan_still,
    prompts,
)


def films(count: int, scenes: int = 10, seed: int = 42) -> list[Film]:
    return [plan_film(seed, k, scenes, path=f"{k}.mp4") for k in range(count)]


def test_eight_of_48_combinations_are_held_out_and_none_of_their_parts_is_lost() -> None:
    assert (len(ALL), len(set(HELD_OUT)), len(SEEN)) == (48, 8, 40)
    for values in (COLOURS, SHAPES, DIRECTIONS):
        parts = [part for c in SEEN for part in (c.colour, c.shape, c.direction) if part in values]
        assert min(Counter(parts).values()) >= 10
    for one, other in itertools.combinations(("colour", "shape", "direction"), 2):
        pairs = {(getattr(c, one), getattr(c, other)) for c in SEEN}
        assert pairs == {(getattr(c, one), getattr(c, other)) for c in ALL}


def test_no_film_shows_a_held_out_combination_and_each_seen_one_comes_equally_often() -> None:
    counts = Counter(scene.combination for film in films(8) for scene in film.scenes)
    assert counts == dict.fromkeys(SEEN, 2)  # 80 scenes over 40 combinations


def test_a_plan_depends_on_the_seed_and_the_index_alone() -> None:
    assert films(3) == films(3)
    assert films(1, seed=1) != films(1, seed=2)
    assert plan_film(42, 2, 10, path="2.mp4") == films(3)[2]
    assert plan_still(42, 5, path="a.png") == plan_still(42, 5, path="a.png")


def test_most_films_are_square_and_all_rates_and_ratios_occur() -> None:
    made = films(16, scenes=1)
    ratios = Counter(round(film.height / film.width, 1) for film in made)
    assert ratios == {1.0: 12, 0.6: 2, 1.7: 2}
    assert {str(film.fps) for film in made} == {"12", "15", "24", "25", "30", "30000/1001"}


@pytest.mark.parametrize("index", range(6))
def test_objects_stay_inside_and_cross_most_of_their_room(index: int) -> None:
    film = plan_film(3, index, 20, path="a.mp4")
    frame = np.array([film.width, film.height])
    for scene in film.scenes:
        tall, wide = SHAPES[scene.combination.shape]
        box = scene.size * np.array([wide, tall])
        last = np.add(scene.start, np.multiply(scene.step, scene.num_frames - 1))
        ends = np.array([scene.start, last])
        assert (ends - box / 2 >= MARGIN * frame - 1e-6).all()
        assert (ends + box / 2 <= (1 - MARGIN) * frame + 1e-6).all()
        duration_s = scene.num_frames / float(film.fps)
        assert SCENE_S[0] <= duration_s <= SCENE_S[1] + 1 / float(film.fps)
        crossed = np.array(scene.step) * 2.0 * float(film.fps) / ((1 - 2 * MARGIN) * frame - box)
        along = crossed @ np.array(DIRECTIONS[scene.combination.direction])
        assert TRAVEL[0] - 1e-6 <= along <= TRAVEL[1] + 1e-6
        assert np.abs(crossed).sum() == pytest.approx(along)  # nothing across, nothing backwards
        assert 0.50 <= scene.size / min(film.height, film.width) <= 0.58


def test_neighbouring_backgrounds_differ_enough_for_a_cut() -> None:
    for film in films(6):
        for one, other in itertools.pairwise(film.scenes):
            assert cut_score(one.background, other.background) >= MIN_CUT_SCORE


def test_the_cut_score_is_the_mean_change_of_hue_saturation_and_value() -> None:
    grey, light = (Background((v, v, v), 0.0, 0.0) for v in (0.4, 0.8))
    # hue and saturation of a grey are 0; value goes from 102 to 204
    assert cut_score(grey, light) == pytest.approx((0 + 0 + 102) / 3)


def test_a_background_gets_brighter_along_its_angle() -> None:
    pixels = Background((0.5, 0.5, 0.5), 0.1, 0.0).pixels(4, 10)
    # the middles of the outermost of 10 columns lie at -0.9 and 0.9
    assert pixels[0, 0] == pytest.approx([127.5 * 0.91] * 3)
    assert pixels[3, 9] == pytest.approx([127.5 * 1.09] * 3)


def test_captions_are_short_and_name_everything() -> None:
    for template, combination in itertools.product(TEMPLATES, ALL):
        words = combination.caption(template).split()
        assert {combination.colour, combination.shape, combination.direction} <= set(words)
        assert len(combination.caption(template).encode()) < 60
    assert len(set(TEMPLATES)) == len(set(STILL_TEMPLATES)) == 6


def test_stills_name_no_direction_and_show_all_pairs_equally_often() -> None:
    stills = [plan_still(42, k, path=f"{k}.png").scenes[0] for k in range(24)]
    pairs = Counter((still.combination.colour, still.combination.shape) for still in stills)
    assert len(pairs) == 12
    assert set(pairs.values()) == {2}
    assert not any(word in DIRECTIONS for still in stills for word in still.caption.split())
    assert all(still.num_frames == 1 for still in stills)


def test_prompts_hold_every_held_out_sentence_and_as_many_seen_ones() -> None:
    listed = prompts(42)
    held_out = {prompt for prompt, _, split in listed if split == "heldout"}
    seen = {prompt: combination for prompt, combination, split in listed if split == "seen"}
    assert held_out == {c.caption(template) for c in HELD_OUT for template in TEMPLATES}
    assert len(seen) == 48
    assert set(seen.values()) == set(SEEN)
