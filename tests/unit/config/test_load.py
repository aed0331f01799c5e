"""Configs: overrides, unknown names, saving."""

import keyword
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from opensora.config.load import (
    TEXT_FIELDS,
    load_config,
    parse_overrides,
    read_saved_config,
    save_config,
)
from opensora.core.errors import ConfigError


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("lr = 1e-4\nmodel = dict(type='STDiT2', depth=4)\nbuckets = {'32px': {1: 2}}\n")
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--lr", "2e-4"], [("lr", 2e-4)]),
        (["--model.depth=8"], [("model.depth", 8)]),
        (["--image-size", "256", "384"], [("image_size", [256, 384])]),
        (["--cfg-options", "a.b=c", "d=1"], [("a.b", "c"), ("d", 1)]),
        (["--load", "none", "--wandb", "true"], [("load", None), ("wandb", True)]),
        (["--outputs", "results/a b"], [("outputs", "results/a b")]),
    ],
)
def test_command_line_words_become_values(words: list[str], expected: list) -> None:
    assert parse_overrides(words) == expected


@pytest.mark.parametrize("words", [["lr", "1"], ["--lr"], ["--cfg-options", "a.b"]])
def test_malformed_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        parse_overrides(words)


def test_an_override_reaches_a_nested_field(config_file: Path) -> None:
    config = load_config(config_file, ["--model.depth", "8", "--model.time-scale", "0.5"])
    assert (config.model.depth, config.model.time_scale, config.lr) == (8, 0.5, 1e-4)


def test_an_override_makes_the_fields_above_it(config_file: Path) -> None:
    config = load_config(config_file, ["--dataset.latents", "here", "--dataset.plan", "there"])
    assert config.dataset == {"latents": "here", "plan": "there"}


def test_an_unknown_field_names_the_nearest(config_file: Path) -> None:
    known = {"lr", "model", "buckets", "epochs"}
    with pytest.raises(ConfigError, match="unknown field 'epoch'; did you mean 'epochs'"):
        load_config(config_file, ["--epoch", "3"], known=known)


def test_a_field_below_a_value_is_refused(config_file: Path) -> None:
    with pytest.raises(ConfigError, match="has no fields"):
        load_config(config_file, ["--lr.start", "3"])


@pytest.mark.parametrize("text", ["lr = ", "lr = 1 / 0"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.py"):
        load_config(path)


def test_a_saved_config_loads_equal(config_file: Path, tmp_path: Path) -> None:
    config = load_config(config_file)
    save_config(config, tmp_path / "saved.py")
    assert load_config(tmp_path / "saved.py").to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--prompt", "7"], [("prompt", "7")]),
        (["--prompt", "none"], [("prompt", "none")]),
        (["--prompt", "a cat", "a dog"], [("prompt", ["a cat", "a dog"])]),
        (["--prompt", "[sic] a cat"], [("prompt", "[sic] a cat")]),
        (["--mask-strategy", "0,0,0,0,8,0.3"], [("mask_strategy", "0,0,0,0,8,0.3")]),
        (["--mask-strategy", "0", "none"], [("mask_strategy", ["0", None])]),
        (["--mask-strategy", "['0', None]"], [("mask_strategy", ["0", None])]),
        (["--save-dir", "2024"], [("save_dir", "2024")]),
        (["--model.from-pretrained", "7"], [("model.from_pretrained", "7")]),
        (["--scheduler.timestep-respacing", "10,20"], [("scheduler.timestep_respacing", "10,20")]),
        (["--scheduler.timestep-respacing="], [("scheduler.timestep_respacing", "")]),
        (["--scheduler.cfg-scale", "-1"], [("scheduler.cfg_scale", -1)]),
    ],
)
def test_texts_are_not_taken_for_numbers(words: list[str], expected: list) -> None:
    assert parse_overrides(words) == expected


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: (
        name not in {"filename", "text", "pretty_text", "env_variables", "cfg_options"}
        and name not in TEXT_FIELDS
        and not keyword.iskeyword(name)
    )
)
VALUES = st.recursive(
    SCALARS | st.text("abc ./'\"-é{}", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers(0, 200) | NAMES, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=SCALARS, parents=st.lists(NAMES, max_size=3), name=NAMES, hyphens=st.booleans())
def test_any_field_can_be_overridden(
    value: object, parents: list, name: str, hyphens: bool
) -> None:
    dotted = ".".join([*parents, name])
    option = f"--{dotted.replace('_', '-') if hyphens else dotted}"
    for words in ([option, repr(value)], [f"{option}={value!r}"]):
        assert parse_overrides(words) == [(dotted, value)]
    assert parse_overrides(["--cfg-options", f"{option[2:]}={value!r}"]) == [(dotted, value)]


@given(fields=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_saved_config_loads_equal(
    fields: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("saved") / "config.py"
    save_config(Config(fields), path)
    loaded = load_config(path).to_dict()
    assert repr(sorted(loaded.items(), key=str)) == repr(sorted(fields.items(), key=str))
    assert repr(sorted(read_saved_config(path).items(), key=str)) == repr(
        sorted(fields.items(), key=str)
    )


@pytest.mark.parametrize(
    "code",
    [
        "lr = open({canary!r}, 'w').name",
        "import pathlib; pathlib.Path({canary!r}).touch()",
        "model = dict(type='DiT')",
        "a.b = 1",
        "a = b = 1",
        "a = " + "[" * 500 + "]" * 500,
        "a = " + "-" * 100_000 + "1",
        "a = {{[]: 1}}",
        "a = 1\0",
        "a = (",
    ],
)
def test_a_config_beside_weights_is_data_and_never_runs(tmp_path: Path, code: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "config.py"
    path.write_text("lr = 1e-4\n" + code.format(canary=str(canary)) + "\n")
    with pytest.raises(ConfigError, match=r"config\.py: .*is no plain literal; beside weights"):
        read_saved_config(path)
    assert not canary.exists()
    path.write_bytes(b"a = '\xff'\n")
    with pytest.raises(ConfigError, match="is no plain literal"):
        read_saved_config(path)
    path.write_bytes(b"#" * 4_000_001)
    with pytest.raises(ConfigError, match="larger than 4,000,000 bytes"):
        read_saved_config(path)
    with pytest.raises(ConfigError, match=r"none\.py: can not be read"):
        read_saved_config(tmp_path / "none.py")


def test_a_config_that_a_user_names_is_a_program(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("lr = float('0.5')\nmodel = dict(type='DiT')\n")
    assert load_config(path).to_dict() == {"lr": 0.5, "model": {"type": "DiT"}}


def test_a_number_of_the_command_line_finds_the_key_of_the_file(config_file: Path) -> None:
    config = load_config(config_file, ["--buckets.32px.1", "7", "--buckets.32px.16", "8"])
    assert config.buckets.to_dict() == {"32px": {1: 7, "16": 8}}


@pytest.mark.parametrize(
    "words",
    [
        ["--model.enable-flashattn", "False"],
        ["--model.enable_flash_attn", "False"],
        ["--cfg-options", "model.enable-flashattn=False"],
    ],
)
def test_an_override_wins_in_either_spelling(tmp_path: Path, words: list[str]) -> None:
    for spelling in ("enable_flashattn", "enable_flash_attn"):
        path = tmp_path / "train.py"
        path.write_text(f"model = dict(type='STDiT', {spelling}=True)\n")
        assert load_config(path, words, kind="train").model.enable_flash_attn is False


def test_the_data_path_of_the_command_line_wins_over_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    for text in ("data_path = 'a.csv'\n", "dataset = dict(data_path='a.csv')\n"):
        path.write_text(text)
        for words in (["--data-path", "b.csv"], ["--dataset.data-path", "b.csv"]):
            config = load_config(path, words, kind="train")
            assert config.to_dict() == {
                "dataset": {"type": "VideoTextDataset", "data_path": "b.csv"}
            }


def test_a_translation_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "train.py"
    path.write_text("model = dict(type='STDiT', enable_sequence_parallelism=True)\n")
    with caplog.at_level("INFO"):
        load_config(path, ["--seed", "3"], kind="train")
    assert [record.message for record in caplog.records] == [
        "config model.enable_sequence_parallelism=True left out: sp_size decides how many workers"
        " share a video"
    ]


def test_a_misspelt_short_name_is_met_with_the_right_one(config_file: Path) -> None:
    known, words = {"lr", "model", "buckets"}, ["--num-sampling-step", "3"]
    with pytest.raises(ConfigError, match="did you mean 'num_sampling_steps'"):
        load_config(config_file, words, known=known, kind="inference")


def test_a_misspelt_field_of_a_part_is_found_at_once(config_file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"train\.py: model STDiT2: unknown field 'detph'; did you mean 'depth'"
    ):
        load_config(config_file, ["--model.detph", "3"], kind="train")
