"""What every registered scorer promises."""

import numpy as np
import pytest
import torch

from opensora.config.registry import SCORERS, build_module, registered_names
from opensora.core.versions import VERSIONS
from opensora.curation.scores.scorer import ClipFrames, Scorer
from tests.tiny_features import save_scorer_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_scorer_clip(tmp_path_factory.mktemp("clip") / "model", "frame")


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("head") / "head.pth"
    torch.save({"weight": torch.ones(1, 16), "bias": torch.zeros(1)}, path)
    return str(path)


@pytest.fixture(params=registered_names(SCORERS))
def scorer(request: pytest.FixtureRequest, clip_folder: str, head: str) -> Scorer:
    return build_module({"type": request.param}, SCORERS, clip=clip_folder, head=head)


def make_batch(scorer: Scorer) -> list[ClipFrames]:
    """A landscape and a portrait video of unlike length, and an image."""
    rng = np.random.default_rng(0)
    batch = []
    for num_frames, height, width in ((40, 32, 48), (9, 64, 40), (1, 20, 20)):
        indices = np.array(scorer.choose(num_frames))
        frames = rng.integers(0, 256, (len(indices), height, width, 3), dtype=np.uint8)
        batch.append(ClipFrames(frames, indices, num_frames == 1, "a red circle moves"))
    return batch


def test_scores_have_one_finite_float_or_a_word_for_each_clip(scorer: Scorer) -> None:
    scores = scorer.score(make_batch(scorer))
    assert tuple(scores) == scorer.columns
    for values in scores.values():
        assert values.shape == (3,)
        if values.dtype == object:  # a name or a hash
            assert all(isinstance(value, str) for value in values)
        else:
            assert values.dtype == np.float32
            assert np.isfinite(values).all()


def test_the_answer_does_not_depend_on_the_batch(scorer: Scorer) -> None:
    batch = make_batch(scorer)
    together = scorer.score(batch)
    backwards = scorer.score(batch[::-1])
    alone = [scorer.score([clip]) for clip in batch]
    for name in scorer.columns:
        np.testing.assert_array_equal(together[name], backwards[name][::-1])
        np.testing.assert_array_equal(together[name], [one[name][0] for one in alone])


@pytest.mark.parametrize("num_frames", [1, 2, 7, 1000])
def test_chosen_frames_exist_and_rise(scorer: Scorer, num_frames: int) -> None:
    indices = scorer.choose(num_frames)
    assert 1 <= len(indices) <= 16
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < num_frames


def test_a_scorer_does_not_change_its_input(scorer: Scorer) -> None:
    batch = make_batch(scorer)
    before = [clip.frames.copy() for clip in batch]
    scorer.score(batch)
    for clip, frames in zip(batch, before, strict=True):
        np.testing.assert_array_equal(clip.frames, frames)


def test_columns_belong_to_one_scorer_and_versions_count(clip_folder: str, head: str) -> None:
    scorers = [
        build_module({"type": name}, SCORERS, clip=clip_folder, head=head)
        for name in registered_names(SCORERS)
    ]
    columns = [column for scorer in scorers for column in scorer.columns]
    assert len(columns) == len(set(columns))
    assert set(registered_names(SCORERS)) <= set(VERSIONS)
