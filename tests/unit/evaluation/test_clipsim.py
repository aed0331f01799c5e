import numpy as np
import pytest

from opensora.evaluation.clipsim import compare

# three samples, two prompts; samples 0 and 1 belong to prompt 0, sample 2 to prompt 1
COSINES = np.array([[0.8, 0.1], [0.2, 0.3], [0.0, 0.5]])
OWN = np.array([0, 0, 1])


def test_shuffled_is_the_mean_with_all_other_prompts():
    assert compare(COSINES, OWN)["shuffled"] == pytest.approx((0.1 + 0.3 + 0.0) / 3)


def test_retrieval_counts_samples_whose_own_prompt_is_nearest():
    retrieval = compare(COSINES, OWN)["retrieval"]
    assert (retrieval["correct"], retrieval["n"], retrieval["chance"]) == (2, 3, 0.5)


def test_one_prompt_has_nothing_to_be_shuffled_with():
    assert compare(COSINES[:2, :1], OWN[:2])["shuffled"] is None
