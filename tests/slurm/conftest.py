"""Fixtures of the tests that start a real SLURM."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.slurm import accounting
from tests.slurm.cluster import CLEAN, Cluster, Kind, cluster, missing
from tests.slurm.faulty import ONE_NODE, STAGE, TWO_NODES, FaultyRun, smallest, undisturbed


@pytest.fixture
def start() -> Iterator[Callable[[Kind], Cluster]]:
    """Starts clusters, one after the other; each ends with the next one or with the test."""
    if why := missing():
        pytest.skip(why)
    with ExitStack() as running:

        def begin(kind: Kind) -> Cluster:
            running.close()
            if kind.accounts and (why := accounting.lacking(CLEAN["PATH"])):
                pytest.skip(why)
            # not below tmp_path, which no other user may enter: munge is one
            folder = running.enter_context(TemporaryDirectory(prefix="cluster"))
            return running.enter_context(cluster(Path(folder), kind))

        yield begin


@pytest.fixture(scope="session")
def whole() -> Iterator[Path]:
    """The run that nobody disturbed."""
    if why := missing():
        pytest.skip(why)
    with TemporaryDirectory(prefix="whole") as folder:
        undisturbed(Path(folder))
        yield Path(folder)


@pytest.fixture
def training(
    start: Callable[[Kind], Cluster], whole: Path, tmp_path: Path
) -> Callable[..., FaultyRun]:
    """Begins a cluster and a run that has but its training to do."""

    def made(kind: Kind | None = None, *, stage: Any = ONE_NODE, **config: Any) -> FaultyRun:
        threads = 2 if stage is TWO_NODES else 4
        given = smallest(**stage) | {"resources": {"threads": threads}} | config
        running = start(kind or Kind())
        lacks = (STAGE, "logs/train")
        return FaultyRun.of(running, whole, tmp_path / "run", lacks=lacks, **given)

    return made
