"""Who makes a sample changes no byte of it: batches keep their size, samples their row."""

import random

import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.sampling.conditioning import MaskRule
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.places import batches_of, parse_part, whole_batches
from opensora.sampling.prompts import Prompt, requests
from opensora.sampling.references import Reference
from opensora.sampling.run import sample_prompts
from opensora.sampling.settings import SamplingSettings
from opensora.sampling.table import join_parts

PROMPTS = [Prompt(text) for text in ("ab", "cd", "ef", "gh", "ij", "kl", "mn")]
KEPT = [Prompt(text, (Reference("a", "a", "a"),), (MaskRule(0),)) for text in ("x", "y", "z")]


def settings_of(config, **changes):
    return SamplingSettings.from_config({**config, **changes})


def test_batches_are_as_full_as_each_other_and_hold_one_kind(config):
    settings = settings_of(config, batch_size=4)
    wanted = [*requests(PROMPTS[:3], 3), *requests(KEPT, 1)]
    random.Random(0).shuffle(wanted)
    made = whole_batches(wanted, settings)
    assert [len(batch.rows) for batch in made] == [3, 3, 3, 3]
    assert all(len({bool(one.prompt.rules) for one in batch.rows}) == 1 for batch in made)
    assert sorted(one.id for batch in made for one in batch.places) == sorted(r.id for r in wanted)
    again = whole_batches(sorted(wanted, key=lambda one: one.id), settings)
    assert again == made  # whatever the order
    for batch in made:
        assert all(batch.rows[place.row] is one for one, place in batch.places.items())


def test_what_is_left_keeps_its_place_and_fills_as_few_batches_as_it_can(config):
    settings = settings_of(config, batch_size=4)
    places = {}
    for batch in whole_batches(requests([*PROMPTS, *KEPT], 1), settings):
        places |= batch.places
    todo = [one for one, place in places.items() if place.row != 1]
    made = batches_of(todo, places, settings)
    assert {one: place for batch in made for one, place in batch.places.items()} == {
        one: places[one] for one in todo
    }
    assert [len(batch.rows) for batch in made] == [4, 4, 3]
    assert all(
        batch.rows[place.row] is one for batch in made for one, place in batch.places.items()
    )
    few = [one for one, place in places.items() if place.size == 4][::5]
    assert len(few) == 2
    assert (
        len({places[one].row for one in few})
        == len(few)
        == len(batches_of(few, places, settings)[0].places)
    )


@pytest.mark.parametrize("word", ["0/3", "4/3", "1", "1/0", "-1/2", "a/b"])
def test_a_part_is_one_of_them(word):
    with pytest.raises(ConfigError, match="as 2/3 for the second of three"):
        parse_part(word)


def folder_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_jobs_orders_and_second_tries_give_the_same_bytes(config, tmp_path):
    """Whatever the split; float32, where a row of another place would be rounded otherwise."""
    pipeline = load_pipeline(config, settings_of(config), "cpu")

    def made(name, order, parts):
        settings = settings_of(config, batch_size=3, save_dir=str(tmp_path / name))
        for number in range(1, parts + 1):
            sample_prompts(pipeline, order, settings, part=(number, parts))
        if parts > 1:
            join_parts(settings.save_dir, parts)
        return folder_bytes(settings.save_dir)

    whole = made("whole", PROMPTS, 1)
    assert len(whole) == 2 * len(PROMPTS) + 1
    assert made("jobs", PROMPTS, 3) == whole
    for path in list((tmp_path / "jobs").glob("*.mp4"))[::2]:
        path.unlink()
    assert made("jobs", PROMPTS, 1) == whole
    backwards = made("order", PROMPTS[::-1], 5)  # more parts than batches
    assert backwards.pop("samples.csv") != whole.pop("samples.csv")
    assert backwards == whole


def test_parts_are_joined_once_all_are_there(config, tmp_path):
    pipeline = load_pipeline(config, settings_of(config), "cpu")
    sample_prompts(pipeline, PROMPTS[:2], settings_of(config), part=(1, 2))
    with pytest.raises(TableError, match=r"2_of_2\.csv"):
        join_parts(tmp_path / "samples", 2)
