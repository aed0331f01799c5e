"""The workflow's YAML config: defaults, misspelt keys, contradictions."""

from pathlib import Path

import pytest
import yaml

from opensora.core.errors import ConfigError
from opensora.dag.layout import LAYOUT
from opensora.dag.settings import (
    check_workflow_config,
    report_settings,
    save_workflow_config,
)

REPOSITORY = Path(__file__).parents[3]
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"


def minimal() -> dict:
    return {
        "run": "x",
        "demo": {"num_videos": 1},
        "stages": [{"name": "one", "config": "a.py"}],
    }


def test_defaults_fill_nested_fields() -> None:
    config = minimal()
    check_workflow_config(config, SCHEMA)
    assert config["clips"]["max_s"] == 10.0
    assert config["stages"][0]["nodes"] == 1
    assert config["models"]["vae"] == {"config": "configs/demo/vae.py", "from_pretrained": None}


@pytest.mark.parametrize("captioner", ["template", "transformers"])
def test_several_captions_come_from_sidecars_alone(captioner: str) -> None:
    config = minimal() | {"captions": {"captioner": captioner, "per_clip": 2}}
    with pytest.raises(ConfigError, match=f"per_clip 2 has no effect with captioner {captioner}"):
        check_workflow_config(config, SCHEMA)
    check_workflow_config(minimal() | {"captions": {"per_clip": 2}}, SCHEMA)


def test_a_question_to_a_captioner_may_have_lines() -> None:
    config = minimal() | {"captions": {"captioner": "transformers", "prompt": "what\nand where?\n"}}
    check_workflow_config(config, SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_shard": 2}, "unknown field 'num_shard'; did you mean 'num_shards'"),
        ({"clips": {"max_seconds": 2}}, r"unknown field 'clips\.max_seconds'"),
        ({"num_shards": 0}, "num_shards: 0 is less than"),
        ({"videos": ["nowhere"]}, "not both"),
        ({"demo": {}}, "give either"),
        ({"demo": {}, "videos": ["nowhere"]}, "sample.prompts"),
        ({"run": "../up"}, "run: "),
        ({"run": "x\n"}, r"run: 'x\\x0a' holds a line break"),
        ({"stages": [{"name": "one\n", "config": "a.py"}]}, r"stages\.0\.name: 'one\\x0a' holds"),
        ({"keep_if": ["flow > 1", "-flow < 2"]}, r"keep_if\.1: '-flow < 2' begins with a dash"),
        ({"captions": {"sidecar": ["-x.csv"]}}, r"captions\.sidecar\.0: '-x\.csv' begins with a"),
        ({"captions": {"prompt": "what\u202e?"}}, r"captions\.prompt: 'what\\u202e\?' holds"),
        ({"sample": {"config": "s.py", "stages": ["two"]}}, "no stage 'two'"),
        (
            {"stages": [{"name": "one", "config": "a.py", "gpus": 4, "processes": 2}]},
            "one: processes 2 has no effect beside gpus 4",
        ),
        (
            {
                "stages": [
                    {"name": "one", "config": "a.py", "load": "first.pth"},
                    {"name": "two", "config": "b.py", "load": "second.pth"},
                ]
            },
            "two: load 'second.pth' has no effect, because it starts from the weights of one",
        ),
        (
            {
                "stages": [
                    {"name": "one", "config": "a.py", "other": "two"},
                    {"name": "two", "config": "b.py"},
                ]
            },
            "one: other is 'two'; expected a stage before it, one of none",
        ),
        ({"clips": {"mode": "copy", "fps": 24}}, "clips: fps 24 has no effect with mode copy"),
        (
            {"clips": {"mode": "copy", "short_side": 64}},
            "clips: short_side 64 has no effect with mode copy",
        ),
        (
            {"encode": {"image_encoder": "mine/wan"}},
            r"encode\.image_encoder has no effect without encode\.given",
        ),
    ],
)
def test_a_mistake_is_one_sentence(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_workflow_config(minimal() | change, SCHEMA)


@pytest.mark.parametrize(
    ("fields", "more", "sentence"),
    [
        ({"type": "bert"}, {}, r"models\.text_encoder\.type: 'bert' is not one of"),
        ({"num_classes": 3}, {}, "num_classes has no effect with type t5; leave it out"),
        ({"type": "classes"}, {}, "type classes needs num_classes"),
        (
            {"type": "classes", "num_classes": 3},
            {"encode": {"int8": True}},
            r"no use for encode\.int8",
        ),
        (
            {"type": "classes", "num_classes": 3, "from_pretrained": "x"},
            {},
            r"no use for models\.text_encoder\.from_pretrained",
        ),
        (
            {"type": "classes", "num_classes": 3},
            {"stages": [{"name": "one", "config": "a.py", "online": True}]},
            "stage one is online",
        ),
    ],
)
def test_only_what_a_type_of_text_encoder_takes_may_be_given(
    fields: dict, more: dict, sentence: str
) -> None:
    config = minimal() | {"models": {"text_encoder": fields}} | more
    with pytest.raises(ConfigError, match=sentence):
        check_workflow_config(config, SCHEMA)


def test_a_missing_folder_is_named() -> None:
    config = minimal() | {"demo": {}, "videos": ["nowhere"]}
    config["sample"] = {"config": "s.py", "prompts": "p.txt"}
    with pytest.raises(ConfigError, match="videos: 'nowhere' does not exist"):
        check_workflow_config(config, SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest": "nowhere.csv"}, "manifest: 'nowhere.csv' does not exist"),
        ({"demo": {"num_videos": 1}}, "given: demo and manifest"),
        ({"filters": {"flow": {"min": 1}}}, "`filters` has no effect beside `manifest`.*leave it"),
        (
            {"clips": {"fps": 8}, "scorers": ["technical"]},
            "`clips`, `scorers` have no effect beside `manifest`.*leave them out",
        ),
        ({"manifest": None, "videos": ["*.mp4"], "root": "x"}, "root belongs to `manifest`"),
        (
            {
                "manifest": None,
                "videos": ["*.mp4"],
                "scenes": {"table": "meta.csv", "threshold": 3},
            },
            "`threshold` has no effect beside `table`",
        ),
    ],
)
def test_a_run_enters_at_one_place(
    change: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta.csv").touch()
    own = {"demo": {}, "manifest": "meta.csv", "sample": {"config": "s.py", "prompts": "p.txt"}}
    defaults = {"clips": {"fps": 24}, "filters": {}}  # what says nothing is no mistake
    check_workflow_config(minimal() | own | defaults, SCHEMA)
    with pytest.raises(ConfigError, match=message):
        check_workflow_config(minimal() | own | change, SCHEMA)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs/workflow").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_shipped_config_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load(path.read_text())
    config["videos"] = ["*.mp4"] if config.get("videos") else []  # the folder is the user's
    check_workflow_config(config, SCHEMA)


@pytest.mark.parametrize(
    "clips",
    [{}, {"mode": "copy"}, {"mode": "copy", "fps": None}, {"audio": "keep"}, {"audio": "drop"}],
)
def test_a_saved_config_passes_and_says_the_same(clips: dict, tmp_path: Path) -> None:
    config = minimal() | {"clips": clips}
    check_workflow_config(config, SCHEMA)
    save_workflow_config(config, tmp_path / "run/config.yaml")
    again = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    check_workflow_config(again, SCHEMA)
    assert report_settings(again) == report_settings(config)  # in no identity
    assert again.pop("layout") == LAYOUT
    assert again == config


def test_sound_that_is_dropped_is_as_if_nobody_had_said_so() -> None:
    """So that a run of before has the identities that it had."""
    plain, dropped, kept = minimal(), minimal(), minimal()
    dropped["clips"], kept["clips"] = {"audio": "drop"}, {"audio": "keep"}
    for config in (plain, dropped, kept):
        check_workflow_config(config, SCHEMA)
    assert plain["clips"] == dropped["clips"]
    assert kept["clips"] == {**plain["clips"], "audio": "keep"}


def test_the_report_shows_no_settings_of_the_machine() -> None:
    one, other = minimal(), minimal()
    other |= {"resources": {"threads": 7}}
    other["stages"] = [{**other["stages"][0], "nodes": 2, "gpus": 4}]
    third = minimal() | {"seed": 3}
    for config in (one, other, third):
        check_workflow_config(config, SCHEMA)
    assert report_settings(one) == report_settings(other) != report_settings(third)
    assert other["stages"][0]["name"] == "one"


def test_footage_of_ones_own_is_not_judged_by_the_demos_clip(tmp_path: Path) -> None:
    def checked(clip: dict, vae: str | None = "org/vae", **source: object) -> None:
        models = {"vae": {"from_pretrained": vae}, "clip": clip}
        sample = {"config": "s.py", "prompts": "p.txt"}
        source = source or {"demo": {}, "videos": [str(tmp_path)]}
        check_workflow_config({**minimal(), "models": models, "sample": sample, **source}, SCHEMA)

    with pytest.raises(ConfigError, match=r"models\.clip: names no weights beside .*'org/vae'"):
        checked({"config": "configs/demo/clip.py"})
    checked({})  # then nothing judges
    checked({"from_pretrained": "org/clip"})
    checked({"config": "mine/clip.py"})
    checked({"config": "configs/demo/clip.py"}, vae=None)  # everything is small
    checked({"config": "configs/demo/clip.py"}, demo={"num_videos": 1})


def test_what_reads_by_a_clip_needs_one(tmp_path: Path) -> None:
    sample = {"config": "s.py", "prompts": "p.txt"}
    given = {**minimal(), "sample": sample, "scorers": ["technical", "match"]}
    with pytest.raises(ConfigError, match=r"models\.clip: .* and the scorer match needs one"):
        check_workflow_config(given, SCHEMA)
    given = {**minimal(), "sample": sample, "models": {"text_encoder": {"type": "clip"}}}
    with pytest.raises(ConfigError, match=r"text_encoder of type clip without weights of its own"):
        check_workflow_config(given, SCHEMA)
