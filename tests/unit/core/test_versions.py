"""Nobody changes the code behind a number of core/versions.py without deciding about the number."""

import pytest

from opensora.core.versions import VERSIONS
from tests.stage_code import current, entries_of, essence, file_of, modules_behind, recorded

CODE = '''
"""A module."""
import logging

log = logging.getLogger(__name__)
HELP = "Does it."
LIMIT = 3


def double(x: int) -> int:
    """Twice as much."""
    if x > LIMIT:
        raise ConfigError(f"{x} is too large; expected at most {LIMIT}")
    if x < 0:
        raise VideoError("negative", "below nothing")
    log.info("double x=%d", x)
    parser.add_argument("--x", default=1, help="a number", metavar="X")
    return 2 * x
'''


@pytest.mark.parametrize("stage", sorted(VERSIONS))
def test_the_code_behind_a_number_is_what_it_was(stage: str) -> None:
    before, now = recorded().get(stage, {}), current()[stage]
    if before.get("version") != now["version"]:
        pytest.fail(
            f"{stage}: its number is {now['version']} now; run `make versions` to record it"
        )
    if before["code"] != now["code"]:
        pytest.fail(
            f"{stage}: code behind version {now['version']} changed. If results change too, raise"
            f" {stage} in opensora/core/versions.py and run `make versions`; if they are equal, run"
            " `make versions` alone, which states that"
        )


def test_every_number_has_a_hash_and_no_hash_is_left_over() -> None:
    assert set(recorded()) == set(VERSIONS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Twice as much."""', '"""The double."""'),
        ('"""Twice as much."""', ""),
        ("    return 2 * x", "    # as one says\n    return (2 * x)"),
        ("is too large; expected at most", "is more than"),
        ('log.info("double x=%d", x)', ""),
        ('help="a number", metavar="X"', 'help="the number"'),
        ('HELP = "Does it."', 'HELP = "Doubles."'),
        ("    if x < 0:", "\n\n    if  x<0 :"),
    ],
)
def test_prose_does_not_count(old: str, new: str) -> None:
    assert old in CODE
    assert essence(CODE) == essence(CODE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2 * x", "3 * x"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("default=1", "default=2"),
        ("x > LIMIT", "x >= LIMIT"),
        ("raise ConfigError", "raise TableError"),
        ('"negative"', '"below_zero"'),  # a reason is written to tables
    ],
)
def test_what_the_code_does_counts(old: str, new: str) -> None:
    assert old in CODE
    assert essence(CODE) != essence(CODE.replace(old, new))


@pytest.mark.parametrize(
    ("stage", "inside", "outside"),
    [
        ("split_clips", "curation.clips.clip_plan", "curation.scenes.boundaries"),
        ("technical", "curation.scores.technical", "curation.scores.ocr"),
        ("phash", "curation.scores.perceptual_hash", "curation.scores.technical"),
        ("caption_clips", "curation.captions.template", "curation.scores.technical"),
        ("assign_buckets", "plans.compile", "sampling.run"),
        ("train", "schedulers.rf.rectified_flow", "sampling.run"),
        ("train", "models.stdit.stdit2", "curation.scores.technical"),
        ("encode_videos", "models.vae.frames", "schedulers.rf.rectified_flow"),
        ("evaluate", "evaluation.prompt_following", "training.loop"),
        ("report", "report.pages", "training.loop"),
    ],
)
def test_a_stage_depends_on_what_it_imports(stage: str, inside: str, outside: str) -> None:
    modules = modules_behind(entries_of(stage))
    for name in (inside, outside):
        assert file_of(f"opensora.{name}"), name
    assert f"opensora.{inside}" in modules
    assert f"opensora.{outside}" not in modules
    assert "opensora.core.log" not in modules
