"""Whole numbers with given sums, as near as can be to numbers that are not whole."""

import numpy as np

_ROUNDS = 50  # of scaling rows and columns in turn


def largest_remainder(values: np.ndarray, total: int, owed: np.ndarray | None = None) -> np.ndarray:
    """Round numbers so that they sum to a total; each is less than one away from its own.

    Args:
        values: float [N], not negative, whose sum is `total` but for round-off.
        total: of the whole numbers.
        owed: [N], what each did not get before; who is owed more is rounded up first.

    Returns:
        int64 [N]; the largest fractions are rounded up, of equals the first.
    """
    values = np.round(values, 9)  # 2.9999999999999996 is 3
    whole = np.floor(values).astype(np.int64)
    first = values - whole
    if owed is not None:
        first = np.where(first > 0, first + owed, -np.inf)
    whole[np.argsort(-first, kind="stable")[: total - int(whole.sum())]] += 1
    return whole


def fit_margins(wanted: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Whole numbers near a matrix, with the sums of its rows and, where it can be, of its columns.

    Rows and columns are scaled in turn (Deming and Stephan 1940), rounded down, and what is missing
    is handed out along paths that raise one entry and lower another (Ford and Fulkerson 1956),
    which finds the sums wherever zeros of the matrix allow them.

    Args:
        wanted: float [R, C], not negative; entries of 0 stay 0.
        rows: int [R], their sums; a row that wants nothing has 0.
        columns: int [C], their sums; all of them are as much as all rows.

    Returns:
        int64 [R, C]: the sums of rows are exact, those of columns as near as zeros allow.
    """
    near = wanted.astype(np.float64)
    for _ in range(_ROUNDS):
        near *= _factor(rows, near.sum(axis=1))[:, None]
        near *= _factor(columns, near.sum(axis=0))
    near *= np.minimum(_factor(rows, near.sum(axis=1)), 1)[:, None]
    found = np.floor(near).astype(np.int64)
    allowed = wanted > 0
    left, free = rows - found.sum(axis=1), columns - found.sum(axis=0)
    for place in np.argsort(found - near, axis=None, kind="stable"):
        row, column = np.unravel_index(place, found.shape)
        if allowed[row, column] and left[row] > 0 and free[column] > 0:
            found[row, column] += 1
            left[row] -= 1
            free[column] -= 1
    while path := _path(found, allowed, left, free):
        _push(path, found, left, free)
    stuck = np.flatnonzero(left)
    found[stuck, wanted[stuck].argmax(axis=1)] += left[stuck]
    return found


def _factor(sums: np.ndarray, now: np.ndarray) -> np.ndarray:
    return np.divide(sums, now, out=np.zeros(len(now)), where=now > 0)


def _path(
    found: np.ndarray, allowed: np.ndarray, left: np.ndarray, free: np.ndarray
) -> list[tuple[int, int]]:
    """A shortest way from a row that lacks something to a column that does.

    Returns:
        Entries (row, column) to raise and to lower in turn, the first and last to raise; none where
        there is no way.
    """
    of_row, of_column = (np.full(size, -1) for size in found.shape)
    front = np.flatnonzero(left > 0)
    is_new = left <= 0
    while len(front):
        reached = np.flatnonzero(allowed[front].any(axis=0) & (of_column < 0))
        of_column[reached] = front[allowed[np.ix_(front, reached)].argmax(axis=0)]
        ends = reached[free[reached] > 0]
        if len(ends):
            return _trace(int(ends[0]), of_row, of_column)
        held = found[:, reached] > 0
        front = np.flatnonzero(held.any(axis=1) & is_new)
        of_row[front] = reached[held[front].argmax(axis=1)]
        is_new[front] = False
    return []


def _trace(column: int, of_row: np.ndarray, of_column: np.ndarray) -> list[tuple[int, int]]:
    path = []
    while column >= 0:
        row = int(of_column[column])
        path.append((row, column))
        column = int(of_row[row])
        if column >= 0:
            path.append((row, column))
    return path[::-1]


def _push(
    path: list[tuple[int, int]], found: np.ndarray, left: np.ndarray, free: np.ndarray
) -> None:
    """Hand out along a path as much as it can take."""
    start, end = path[0][0], path[-1][1]
    amount = min(left[start], free[end], *(found[place] for place in path[1::2]))
    for step, place in enumerate(path):
        found[place] += amount if step % 2 == 0 else -amount
    left[start] -= amount
    free[end] -= amount
