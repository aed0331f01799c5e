"""A run whose captions come from a server, with a key that stands nowhere in what it wrote."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from opensora.tables.manifest import read_manifest
from tests.caption_server import CaptionServer, serving
from tests.workflow.test_entries import REPOSITORY, configure, snakemake
from tests.workflow.test_identity import planned

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KEY = "sk-a-key-of-the-workflow-98765"
NUM_IMAGES = 6


@pytest.fixture(scope="module")
def server() -> CaptionServer:
    return CaptionServer()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, server: CaptionServer) -> Iterator[Path]:
    """The folder of a finished curation."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(NUM_IMAGES):
        picture = rng.integers(0, 256, (32, 32, 3), np.uint8)
        picture[8:24, 8:24] = 40 * k
        Image.fromarray(picture).save(folder / f"images/{k}.png")
    with pytest.MonkeyPatch.context() as patch, serving(server) as url:
        patch.setenv("CAPTION_KEY", KEY)
        configure(
            folder,
            videos=["images"],
            scorers=["technical"],
            validation_fraction=0.0,
            num_shards=2,
            captions={
                **{"captioner": "openai", "model": "org/model", "num_frames": 1},
                "endpoint": {"url": url, "key_env": "CAPTION_KEY", "prices": [10, 100]},
            },
        )
        snakemake(folder, "curate_all")
        yield folder


def test_the_manifest_has_what_the_server_wrote(run: Path, server: CaptionServer) -> None:
    manifest = read_manifest(run / "results/test/manifest")
    assert len(manifest) == NUM_IMAGES == len(server.bodies)
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert manifest["caption"].str.startswith("A box of colour").all()
    card = (run / "results/test/data_card.md").read_text()
    took = "Captions of a server took 600 tokens of requests and 60 of replies, at a cost of 0.01."
    assert took in card


def test_the_key_stands_in_no_file(run: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_lost_tables_are_made_again_without_a_question(run: Path, server: CaptionServer) -> None:
    before = {p: p.read_bytes() for p in (run / "results/test/captions").glob("*.parquet")}
    shutil.rmtree(run / "results/test/captions")
    snakemake(run, *(str(path.relative_to(run)) for path in before))
    assert {path: path.read_bytes() for path in before} == before
    assert len(server.bodies) == NUM_IMAGES


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"url": "http://elsewhere/v1", "key_env": None, "concurrency": 2, "timeout_s": 5}, {}),
        ({"request": {"max_tokens": 50}}, {"caption_clips": 2}),
        ({"max_side": 64}, {"caption_clips": 2}),
        ({"prices": [1, 2]}, {"caption_clips": 2}),
    ],
)
def test_only_what_is_asked_starts_captions_again(
    run: Path, fields: dict[str, Any], first: dict[str, int]
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    kept = (run / "config.yaml").read_text()
    config["captions"]["endpoint"] |= fields
    jobs = Counter(job.rule for job in planned(run, config))
    (run / "config.yaml").write_text(kept)
    assert jobs["caption_clips"] == first.get("caption_clips", 0)
    assert jobs["split_clips"] == 0


@pytest.mark.parametrize(
    ("captions", "words"),
    [
        ({"captioner": "openai", "model": "m"}, "come together"),
        ({"endpoint": {"url": "http://host/v1"}}, "come together"),
        ({"captioner": "openai", "endpoint": {"url": "http://host/v1"}}, "needs `model`"),
        ({"captioner": "openai", "model": "m", "endpoint": {"url": "host"}}, "expected one such"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_job(captions: dict[str, Any], words: str) -> None:
    from opensora.core.errors import ConfigError
    from opensora.dag.settings import check_workflow_config

    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    with pytest.raises(ConfigError, match=words):
        check_workflow_config(
            config | {"captions": captions}, REPOSITORY / "workflow/schemas/config.schema.yaml"
        )
