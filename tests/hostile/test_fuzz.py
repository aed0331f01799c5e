"""A sample of `make fuzz`, and that it would tell what escapes."""

import random
from pathlib import Path

import pytest

from opensora.core.errors import ConfigError

# by the names under which worker processes find them
from tests.hostile import fuzz, fuzz_inputs, fuzz_targets
from tests.hostile.fuzz_targets import ACCEPTED, ESCAPE, KINDS, NEEDS_GUARD, REFUSED, Finding, Input

SAMPLE = 400


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valid")
    fuzz_inputs.write_seeds(folder)
    return folder


def test_no_input_of_a_sample_escapes(valid: Path) -> None:
    found = list(fuzz.fuzz(valid, 11, 2, lambda examined: examined < SAMPLE))
    assert len(found) == SAMPLE
    assert not [each for each in found if each[1].what == ESCAPE]
    for kind in KINDS:  # some of each kind are as good as before, and some are refused
        results = {finding.what for given, finding in found if given.kind == kind}
        assert {ACCEPTED, REFUSED} <= results, kind


def test_equal_names_give_equal_inputs_and_other_seeds_others(valid: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        made = []
        for seed, place in ((1, "a"), (1, "b"), (2, "c")):
            contents = []
            for number in range(12):
                folder = tmp_path / kind / place / str(number)
                folder.mkdir(parents=True)
                path = fuzz_targets.make(Input(str(valid), kind, number, seed), folder)
                contents.append((path.name, path.read_bytes()))
            made.append(contents)
        assert made[0] == made[1]
        assert made[0] != made[2]


def test_every_valid_file_is_accepted(valid: Path) -> None:
    kinds = {"videos": ("probe", "decode"), "images": ("images",), "weights": ("weights",)}
    for name, targets in kinds.items():
        for path in sorted((valid / name).iterdir()):
            if path.suffix == ".json":
                continue  # an index, whose shards are not there
            for kind in targets:
                assert fuzz_targets.judge(kind, path) == Finding(ACCEPTED, ""), path
    for text in fuzz_inputs.EXPRESSIONS[:4]:
        path = valid / "condition.txt"
        path.write_text(text)
        assert fuzz_targets.judge("expressions", path) == Finding(ACCEPTED, ""), text


@pytest.mark.parametrize(
    ("kind", "error", "what", "why"),
    [
        ("configs", ConfigError("no"), REFUSED, "ConfigError"),
        ("configs", KeyError("x"), ESCAPE, "KeyError: 'x'"),
        ("tables", MemoryError(), ESCAPE, "MemoryError: "),
        ("expressions", ConfigError("x" * 1001), ESCAPE, "an error that repeats the whole"),
    ],
)
def test_what_is_not_ours_escapes(
    monkeypatch: pytest.MonkeyPatch, kind: str, error: Exception, what: str, why: str
) -> None:
    def target(path: Path) -> str:
        raise error

    monkeypatch.setitem(fuzz_targets._TARGETS, kind, target)
    found = fuzz_targets.judge(kind, Path("x"))
    assert found.what == what
    assert found.why.startswith(why)


def test_no_answer_in_time_is_an_escape(monkeypatch: pytest.MonkeyPatch, valid: Path) -> None:
    monkeypatch.setattr(fuzz, "LIMIT_S", 0.0)
    found = [finding for _, finding in fuzz.fuzz(valid, 0, 1, lambda examined: examined < 2)]
    assert [finding.what for finding in found] == [ESCAPE, ESCAPE]
    assert all(finding.why.startswith("timeout: ") for finding in found)


def test_the_counts_add_up() -> None:
    counts = {kind: fuzz.Counter[Finding]() for kind in ("probe", "configs")}
    counts["probe"].update({Finding(REFUSED, "corrupt"): 3, Finding(NEEDS_GUARD, "E: x"): 1})
    counts["configs"].update({Finding(ACCEPTED, ""): 2, Finding(ESCAPE, "E: y"): 1})
    lines = fuzz.table_of(counts).splitlines()
    assert lines[2].split() == ["probe", "4", "0", "3", "1", "0"]
    assert lines[4].split() == ["all", "7", "2", "3", "1", "1"]
    assert "probe refused: corrupt 3" in lines


def test_changes_keep_within_their_bounds() -> None:
    draw = random.Random(0)
    for _ in range(200):
        assert len(fuzz_inputs.mutated_text("abc", draw)) <= 200_000
        assert isinstance(fuzz_inputs.mutated_bytes(b"", draw), bytes)
