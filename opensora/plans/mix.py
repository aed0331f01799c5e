"""Which clips of which source an epoch has, where sources do not count alike.

Over an epoch the clips of each source are as many as its share says, to within one clip, in batches
that are full. What a cell is owed beyond its full batches it gets in a later epoch. Of the clips of
a source in a cell those come first that were seen least so far, so that all are seen equally often,
and the views of one clip lie far apart in the order of the cell.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from opensora.buckets.bucket import Bucket
from opensora.config.sources import MAX_SHARE, REPEAT, WEIGHT, Rates
from opensora.core.errors import ConfigError, did_you_mean
from opensora.core.seed import draw
from opensora.plans.rounding import fit_margins, largest_remainder

log = logging.getLogger(__name__)


class SourceMix:
    """Chooses the clips of one epoch after the other.

    Args:
        sources: text [N], the source of each clip.
        rates: of each source, as `check_rates` takes them.

    Raises:
        ConfigError: a source that no rate is given for, or a rate of a source that is not there.
    """

    def __init__(self, sources: Sequence[str] | np.ndarray, rates: Rates) -> None:
        self.names = list(rates)
        number = {name: place for place, name in enumerate(self.names)}
        found = np.unique(np.asarray(sources, dtype=str))
        for name in found.tolist():
            if name not in number:
                hint = did_you_mean(name, self.names) or f"; they are for {', '.join(self.names)}"
                raise ConfigError(f"sources: clips of {name or 'no source'!r} have no rate{hint}")
        for name in self.names:
            if name not in found:
                log.warning("sources: %s has no clip to train on; the others share its part", name)
        self.source = np.array([number[str(name)] for name in sources], dtype=np.int64)  # [N]
        self._rates = rates
        self._seen = np.zeros(len(self.source), dtype=np.int64)  # times in the epochs so far
        self._owed: dict[Bucket, float] = {}  # clips that a cell did not get so far
        self._short = np.zeros(len(self.names))  # the same of each source

    def epoch_shares(self, clips: np.ndarray) -> np.ndarray:
        """How many clips of each source an epoch should have.

        Args:
            clips: int [S], those of each source that have a bucket.

        Returns:
            float [S]; an epoch has as many clips as there are, or with repeats as they say.
        """
        return shares_of(clips, [self._rates[name] for name in self.names])

    def choose(
        self,
        place: np.ndarray,
        cells: Sequence[Bucket],
        batch_sizes: Sequence[int],
        hashes: np.ndarray,
        *,
        seed: int,
        epoch: int,
        drop_last: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose the clips of the next epoch.

        Args:
            place: int [N], index of each clip's cell, -1 where it has none.
            cells: C of them.
            batch_sizes: of each cell.
            hashes: uint64 [N], of the ids.
            seed: with `epoch` the order.
            epoch: epoch index.
            drop_last: make full batches.

        Returns:
            int [clips], rows of the clips, cell after cell, each as often as it is seen; int [C],
            how many each cell has.
        """
        rows = np.flatnonzero(place >= 0)
        cell, source = place[rows].astype(np.int64), self.source[rows]
        shape = (len(self.names), len(cells))
        clips = np.bincount(source * shape[1] + cell, minlength=shape[0] * shape[1]).reshape(shape)
        counts = self._counts(clips, cells, np.asarray(batch_sizes), drop_last=drop_last)
        chance = draw(hashes[rows], seed, "order", epoch)
        # the least seen first within source and cell
        order = np.lexsort((chance, self._seen[rows], source, cell))
        group = cell[order] * shape[0] + source[order]
        held = clips.T.ravel()
        rank = np.arange(len(order)) - (np.cumsum(held) - held)[group]
        whole, rest = np.divmod(counts.T.ravel(), np.maximum(held, 1))
        times = np.empty(len(rows), dtype=np.int64)
        times[order] = whole[group] + (rank < rest[group])
        self._seen[rows] += times
        views = np.repeat(np.arange(len(rows)), times)
        view = np.arange(len(views)) - np.repeat(np.cumsum(times) - times, times)
        at = (view + chance[views] / 2.0**64) / times[views]  # in [0, 1) of the order of the cell
        return rows[views[np.lexsort((at, cell[views]))]], counts.sum(axis=0)

    def _counts(
        self,
        clips: np.ndarray,
        cells: Sequence[Bucket],
        batch_sizes: np.ndarray,
        *,
        drop_last: bool,
    ) -> np.ndarray:
        """Int [S, C], how many clips of each source each cell has in this epoch."""
        if not len(cells):
            return clips
        shares = self.epoch_shares(clips.sum(axis=1))
        each = shares / np.maximum(clips.sum(axis=1), 1)  # views of a clip
        wanted = clips * each[:, None]
        total = round(shares.sum())
        if not drop_last:
            rows = self._rows(shares, total)
            scaled = wanted * (rows / np.maximum(shares, 1e-300))[:, None]
            parts = [largest_remainder(*part) for part in zip(scaled, rows, strict=True)]
            return np.array(parts, dtype=np.int64).reshape(clips.shape)
        owed = wanted.sum(axis=0) + [self._owed.get(cell, 0.0) for cell in cells]
        number = np.maximum(owed // batch_sizes, 0).astype(np.int64)
        for index in np.argsort(number - owed / batch_sizes, kind="stable"):
            is_owed = owed[index] > number[index] * batch_sizes[index]
            if is_owed and (number * batch_sizes).sum() + batch_sizes[index] <= total:
                number[index] += 1
        columns = number * batch_sizes
        self._owed = dict(zip(cells, (owed - columns).tolist(), strict=True))
        return fit_margins(wanted, self._rows(shares, int(columns.sum())), columns)

    def _rows(self, shares: np.ndarray, total: int) -> np.ndarray:
        """Int [S], the clips of each source; who was rounded down before is rounded up first."""
        values = shares * (total / max(shares.sum(), 1e-300))
        rows = largest_remainder(values, total, self._short)
        self._short = self._short + values - rows
        return rows


def shares_of(clips: np.ndarray, rates: Sequence[Mapping[str, float]]) -> np.ndarray:
    """How many clips of each source an epoch should have; see `SourceMix.epoch_shares`.

    Args:
        clips: int [S].
        rates: [S].
    """
    if any(WEIGHT in given for given in rates):
        weights = np.array([given[WEIGHT] for given in rates]) * (clips > 0)
        return clips.sum() * weights / max(weights.sum(), 1e-300)
    views = np.array([given.get(REPEAT, 1.0) for given in rates]) * clips
    limits = np.array([given.get(MAX_SHARE, 1.0) for given in rates])
    limits[clips == 0] = 0
    if limits.sum() <= 1:  # those that are here share the epoch as their limits say
        tightest = np.min(views[limits > 0] / limits[limits > 0], initial=np.inf)
        return tightest * limits if np.isfinite(tightest) else views
    is_capped = np.zeros(len(views), dtype=bool)
    while True:
        total = views[~is_capped].sum() / (1 - limits[is_capped].sum())
        over = is_capped | (views > limits * total * (1 + 1e-12))
        if (over == is_capped).all():
            return np.where(is_capped, limits * total, views)
        is_capped = over
