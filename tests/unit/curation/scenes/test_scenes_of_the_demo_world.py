from pathlib import Path

import pytest

from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.demo.make import make_demo
from opensora.tables.io import read_table


@pytest.mark.parametrize("detector", ["content", "adaptive"])
def test_all_cuts_of_the_demo_world_are_found_and_no_other(tmp_path: Path, detector: str) -> None:
    world = tmp_path / "world"
    make_demo(world, num_videos=3, num_images=1, scenes_per_video=6, seed=7, workers=1)
    truth = read_table(world / "truth" / "scenes.csv")
    films = truth[truth["path"].str.startswith("videos/films")]
    expected = set(zip(films["path"], films["start_frame"], films["end_frame"], strict=True))
    scenes = detect_scenes(ingest_videos([world / "videos" / "films"]), SceneSettings(detector))
    paths = scenes["path"].map(lambda path: str(Path(path).relative_to(world)))
    found = set(zip(paths, scenes["start_frame"], scenes["end_frame"], strict=True))
    assert found == expected
    assert len(found) == 18
