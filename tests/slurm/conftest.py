"""Fixtures of the tests that start a real SLURM."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.slurm.cluster import Cluster, Kind, cluster, missing


@pytest.fixture
def start() -> Iterator[Callable[[Kind], Cluster]]:
    """Starts clusters, one after the other; each ends with the next one or with the test."""
    if why := missing():
        pytest.skip(why)
    with ExitStack() as running:

        def begin(kind: Kind) -> Cluster:
            running.close()
            # not below tmp_path, which no other user may enter: munge is one
            folder = running.enter_context(TemporaryDirectory(prefix="cluster"))
            return running.enter_context(cluster(Path(folder), kind))

        yield begin
