"""Mistakes in `sources` are one sentence each; what a source leaves out takes the run's value."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from opensora.config.run_sources import (
    files_below,
    inputs_of,
    num_shards_of,
    rules_of_sources,
    sources_of,
)
from opensora.config.sources import check_rates, given_rates, rates_of
from opensora.core.errors import ConfigError
from opensora.dag.settings import check_workflow_config, report_settings

SCHEMA = Path(__file__).parents[3] / "workflow/schemas/config.schema.yaml"
WEB: dict[str, Any] = {"name": "web", "videos": ["web"]}
OWN: dict[str, Any] = {"name": "own", "manifest": "own.csv"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "web").mkdir()
    (tmp_path / "own.csv").touch()
    (tmp_path / "scenes.csv").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(*sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    config = {
        **{"run": "mine", "stages": [{"name": "one", "config": "a.py"}], "num_shards": 3},
        "sample": {"config": "s.py", "prompts": "p.txt"},
        "sources": [copy.deepcopy(source) for source in sources],
        **more,
    }
    check_workflow_config(config, SCHEMA)
    return config


def test_a_field_of_a_source_takes_the_place_of_the_runs():
    config = checked(
        {**WEB, "captions": {"captioner": "template"}, "filters": {}},
        {"name": "film", "videos": ["web"], "scenes": {"detector": "none"}},
        filters={"sharpness": {"min": 10}},
        captions={"captioner": "sidecar", "sidecar": ["own.csv"]},
        validation_fraction=0.2,
        keep_if=["flow > 1"],
    )
    web, film = config["sources"]
    assert web["captions"]["captioner"] == "template"
    assert web["captions"]["sidecar"] == []
    assert (web["filters"], film["filters"]) == ({}, {"sharpness": {"min": 10}})
    assert film["captions"] == config["captions"]
    assert film["scenes"]["detector"] == "none"
    assert film["scenes"]["transitions"] == "drop"
    assert web["keep_if"] == film["keep_if"] == ["flow > 1"]
    assert web["validation_fraction"] == 0.2


def test_sources_of_videos_have_the_first_shards():
    config = checked(OWN, WEB)
    assert [source["name"] for source in sources_of(config)] == ["web", "own"]
    assert num_shards_of(config) == 6
    assert inputs_of(config) == ["web"]
    assert set(rules_of_sources(config)) == {"web", "own"}


def test_videos_stay_one_source_without_a_name():
    config = checked(videos=["web"])
    (source,) = sources_of(config)
    assert source["name"] is None
    assert source["videos"] == ["web"]
    assert num_shards_of(config) == 3
    assert "sources" not in report_settings(config)


def test_a_saved_config_with_sources_passes_and_says_the_same():
    web = {**WEB, "clips": {"mode": "copy"}, "weight": 3}
    config = checked(web, {**OWN, "weight": 2}, {**WEB, "name": "b", "weight": 1})
    again = yaml.safe_load(yaml.safe_dump(config))
    check_workflow_config(again, SCHEMA)
    assert again == config


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([WEB, WEB], "sources: web: two sources have this name"),
        ([{"name": "web"}], "web: gives none of its inputs; it needs one: `videos`, `manifest`"),
        ([{**WEB, **OWN}], "own: gives `videos` and `manifest`; it needs one"),
        ([{**WEB, "fetch": {"list": "x.csv"}}], "web: gives `videos` and `fetch`; it needs one"),
        ([{"name": "far", "fetch": {"list": "x.csv"}}], "far: fetch: 'x.csv' does not exist"),
        ([{**WEB, "weight": 1, "repeat": 2}], "web: repeat contradicts its weight"),
        ([{**WEB, "weight": 1, "max_share": 0.2}], "web: max_share contradicts its weight"),
        ([{**WEB, "repeat": 1}, {**OWN, "weight": 1}], "web: repeat contradicts the weight of own"),
        ([{**WEB, "weight": 1}, OWN], "own: has no weight, and web has one"),
        ([{**WEB, "videos": "web"}], r"sources.0.videos: expected a list; write \[web\]"),
        ([{**OWN, "root": "gone"}], "own: root: 'gone' is no folder that exists"),
        ([{**WEB, "weight": 0}], "sources.0.weight: 0 is less than or equal to the minimum of 0"),
        ([{**WEB, "weight": -1}], "sources.0.weight: -1 is less"),
        ([{**WEB, "max_share": 1.5}], "sources.0.max_share: 1.5 is greater than the maximum"),
        ([{**WEB, "max_share": 0.3}, {**OWN, "max_share": 0.3}], "0.6 together"),
        ([{**WEB, "captions": {"captioner": "poet"}}], "sources.0.captions.captioner: 'poet' is"),
        ([{**WEB, "wieght": 2}], "unknown field 'sources.0.wieght'.*did you mean 'weight'"),
        ([{"name": "a_b", "videos": ["web"]}], "sources.0.name: 'a_b' does not match"),
        ([{"name": "../x", "videos": ["web"]}], "does not match"),
        ([{**WEB, "videos": ["gone"]}], "web: videos: 'gone' does not exist"),
        ([{**OWN, "manifest": "gone.csv"}], "own: manifest: 'gone.csv' does not exist"),
        ([{**OWN, "scenes": {"detector": "none"}}], "own: scenes has no effect beside `manifest`"),
        ([{**WEB, "root": "x"}], "web: root has no effect beside `videos`"),
        ([{**OWN, "format": "foldr"}], "own: format: there is no layout 'foldr'.*'folder'"),
        ([{**WEB, "captions": {"per_clip": 2}}], "web: captions.per_clip is the same in all"),
        ([{**WEB, "scenes": {"table": "gone.csv"}}], "web: scenes: 'gone.csv' does not exist"),
        (
            [{**WEB, "scenes": {"table": "scenes.csv", "threshold": 3}}],
            "sources: web: `threshold` has no effect beside `table`",
        ),
        (
            [{**WEB, "clips": {"mode": "copy", "fps": 8}}],
            "sources: web: clips: fps 8 has no effect with mode copy",
        ),
    ],
)
def test_a_mistake_is_one_sentence(sources: list[dict[str, Any]], words: str):
    with pytest.raises(ConfigError, match=words) as error:
        checked(*sources)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"videos": ["web"]}, "given: videos and sources"),
        ({"demo": {"num_videos": 1}}, "given: sources and demo"),
        ({"num_shards": 5001}, "make 10,002 shards"),
        ({"captions": {"per_clip": 2}}, "own: captions.per_clip 2 does not go with `manifest`"),
    ],
)
def test_what_does_not_go_with_sources(more: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        checked(WEB, OWN, **more)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "expected JSON"),
        ("[]", "expected an object"),
        ('{"web": {"wieght": 1}}', "web: unknown field 'wieght'.*'weight'"),
        ('{"web": {"weight": "1"}}', "weight is '1'; expected a number"),
        ('{"web": {"weight": 0}}', "weight is 0; expected a number above 0"),
        ('{"web": {"weight": Infinity}}', "weight is inf; expected a number above 0"),
        ('{"web": {"weight": NaN}}', "weight is nan; expected a number above 0"),
        ('{"web": {"max_share": 2}}', "max_share is 2; expected a share"),
    ],
)
def test_rates_of_the_command_line(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        rates_of(text)


def test_rates_that_nobody_gave_are_none():
    config = checked(WEB, OWN)
    assert given_rates(config["sources"]) == {}
    config = checked({**WEB, "repeat": 2}, OWN)
    assert given_rates(config["sources"]) == {"web": {"repeat": 2}, "own": {}}
    check_rates({"web": {"max_share": 0.5}, "own": {"max_share": 0.5}}, "here")


def test_a_folder_of_clips_is_watched_by_its_files(folder: Path):
    before = files_below(str(folder / "web"))
    (folder / "web/a.txt").write_text("a")
    files_below.cache_clear()
    assert files_below(str(folder / "web")) != before


@pytest.mark.parametrize(
    "endpoint",
    ["sk-abc123", ["sk-abc123"], {"url": "http://host/v1", "key_env": ["sk-abc123"]}],
)
def test_what_may_be_a_key_is_not_shown(endpoint: Any):
    captions = {"captioner": "openai", "model": "m", "endpoint": endpoint}
    with pytest.raises(ConfigError, match=r"captions\.endpoint.* not shown: expected") as error:
        checked({**WEB, "captions": captions})
    assert "abc" not in str(error.value)
    with pytest.raises(ConfigError, match=r"captions\.endpoint.* not shown: expected") as error:
        checked(WEB, captions=captions)
    assert "abc" not in str(error.value)
