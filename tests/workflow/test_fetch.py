"""A source that is a list of addresses: fetched once by a job, then curated as any other."""

import functools
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from opensora.dag.dry_run import dry_run
from opensora.media.encode import write_video
from opensora.tables.columns import FETCHED
from opensora.tables.io import read_table
from tests.conftest import tiny_frames
from tests.workflow.test_sources import REPOSITORY, snakemake

TARGET = "results/test/captions/0000.parquet"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Counted(SimpleHTTPRequestHandler):
    """Files of a folder, and how often each was asked for."""

    asked: ClassVar[Counter[str]] = Counter()

    def log_message(self, *words: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self.asked[self.path.partition("?")[0]] += 1
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address below which `a.mp4`, `b.mp4` and `c.mp4` lie."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Counted.asked.clear()
    folder = tmp_path / "far"
    folder.mkdir()
    for k, name in enumerate("abc"):
        noise = np.random.default_rng(k).integers(0, 40, (16, 32, 32, 3), np.uint8)
        write_video(folder / f"{name}.mp4", noise + tiny_frames()[:1, :32, :32] // 2, 8)
    handler = functools.partial(Counted, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def config_of(folder: Path, **fetch: Any) -> dict[str, Any]:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    for name in ("demo", "filters", "captions"):
        config.pop(name, None)
    config |= {"scorers": ["technical"], "num_shards": 1}
    config["clips"] = {"fps": 8, "short_side": 32, "min_s": 0.5}
    config["scenes"] = {"detector": "none"}
    config["sources"] = [{"name": "far", "fetch": {"list": "far.csv", **fetch}, "licence": "CC0"}]
    config["sample"]["prompts"] = "prompts.txt"
    (folder / "prompts.txt").write_text("a box\n")
    config["stages"] = [
        {"name": "stage1", "config": str(REPOSITORY / "tests/data/configs/stage1.py")}
    ]
    return config


def test_a_list_is_fetched_once_and_curated(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [f"{server}/{name}.mp4?key=secret,a film {name}" for name in ("a", "away", "b")]
    (folder / "far.csv").write_text("\n".join(["url,caption", *rows, ""]))
    config = config_of(folder)
    snakemake(folder, config, "--", TARGET)
    fetched = read_table(folder / "results/test/fetched/far.parquet", FETCHED)
    assert list(fetched["status"]) == ["ok", "fetch_failed", "ok"]
    assert list(fetched["url"]) == [f"{server}/{name}.mp4" for name in ("a", "away", "b")]
    assert "404" in fetched["detail"][1]
    videos = read_table(folder / "results/test/ingest/0000.parquet")
    assert sorted(videos["status"]) == ["missing", "ok", "ok"]
    assert set(videos["source_name"]) == {"far"}
    captions = read_table(folder / TARGET)
    good = captions[captions["status"] == "ok"]
    assert set(good["text"]) == {"a film a", "a film b"}
    assert Counted.asked == {"/a.mp4": 1, "/away.mp4": 1, "/b.mp4": 1}
    kept = [*(folder / "results").rglob("*.parquet"), *(folder / "logs").rglob("*.log")]
    assert not any(b"secret" in path.read_bytes() for path in kept)

    whole = dry_run(
        folder / "config.yaml",
        target=TARGET,
        snakefile=REPOSITORY / "Snakefile",
        folder=folder,
    )
    assert whole == []
    (folder / "far.csv").write_text("\n".join(["url,caption", *rows, f"{server}/c.mp4,new", ""]))
    snakemake(folder, config, "--", TARGET)
    assert Counted.asked == {"/a.mp4": 1, "/away.mp4": 2, "/b.mp4": 1, "/c.mp4": 1}
    captions = read_table(folder / TARGET)
    assert "new" in set(captions["text"])


def test_what_would_take_too_much_stays_away(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "far.csv").write_text(f"url\n{server}/a.mp4\n{server}/b.mp4\n")
    size = (tmp_path / "far/a.mp4").stat().st_size
    config = config_of(folder, max_gb=1.5 * size / 1e9)
    config["captions"] = {"captioner": "template"}
    snakemake(folder, config, "--", TARGET)
    fetched = read_table(folder / "results/test/fetched/far.parquet", FETCHED)
    assert sorted(fetched["status"]) == ["ok", "over_limit"]
