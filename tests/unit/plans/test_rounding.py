import numpy as np
import pytest

from opensora.plans.rounding import fit_margins, largest_remainder


def test_the_largest_fractions_are_rounded_up():
    assert largest_remainder(np.array([1.5, 2.3, 0.2]), 4).tolist() == [2, 2, 0]
    assert largest_remainder(np.array([0.5, 0.5]), 1).tolist() == [1, 0]
    assert largest_remainder(np.array([3.0, 0.0]), 3).tolist() == [3, 0]
    owed = np.array([0.0, 0.9, 5.0])
    assert largest_remainder(np.array([1.6, 1.4, 2.0]), 5, owed).tolist() == [1, 2, 2]


@pytest.mark.parametrize("seed", range(20))
def test_sums_of_rows_and_columns_are_met_and_no_entry_is_far_off(seed):
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(0.1, 9, (4, 7))
    columns = rng.multinomial(round(wanted.sum()), wanted.sum(axis=0) / wanted.sum())
    rows = rng.multinomial(columns.sum(), wanted.sum(axis=1) / wanted.sum())
    found = fit_margins(wanted, rows, columns)
    assert found.min() >= 0
    assert found.sum(axis=1).tolist() == rows.tolist()
    assert found.sum(axis=0).tolist() == columns.tolist()


def test_a_way_over_other_rows_is_found():
    """The first row reaches the last column only where the second one makes room."""
    wanted = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    found = fit_margins(wanted, np.array([5, 1]), np.array([2, 3, 1]))
    assert found.tolist() == [[2, 3, 0], [0, 0, 1]]
    found = fit_margins(wanted, np.array([3, 5]), np.array([3, 1, 4]))
    assert found.tolist() == [[3, 0, 0], [0, 1, 4]]


def test_where_zeros_forbid_the_columns_the_rows_hold():
    wanted = np.diag([5.0, 3.0])
    found = fit_margins(wanted, np.array([5, 3]), np.array([4, 4]))
    assert found.tolist() == [[5, 0], [0, 3]]
