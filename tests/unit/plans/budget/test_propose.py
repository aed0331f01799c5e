"""A bucket_config from data: hand-made distributions, and the clips of real videos."""

import os
from pathlib import Path

import pandas as pd
import pytest

from opensora.buckets.bucket import TokenGrid
from opensora.cli.main import EXIT_USER, main
from opensora.config.load import load_config
from opensora.core.errors import ConfigError
from opensora.curation.clips.clip_plan import plan_clips
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.probe import probe
from opensora.plans.budget.propose import Wishes, measure, propose_buckets, snippet
from opensora.plans.figures import plot_proposal, proposal_table
from opensora.tables.columns import OK
from opensora.tables.io import write_table

REPOSITORY = Path(__file__).parents[4]
STAGE1 = "configs/opensora-v1-1/train/stage1.py"
GRID = TokenGrid()
MUCH = 10**9  # tokens: no limit of memory


def clips(*groups: tuple[int, int, int, int]) -> pd.DataFrame:
    """Clips as (how many, frames, height, width)."""
    rows = [group[1:] for group in groups for _ in range(group[0])]
    table = pd.DataFrame(rows, columns=["num_frames", "height", "width"])
    return table.assign(id=[f"clip{k}" for k in range(len(table))])


def test_clips_of_one_size_get_the_largest_resolution_they_fill() -> None:
    data = clips((400, 64, 720, 1280))
    proposed = propose_buckets(data, Wishes([16, 64], MUCH, GRID))
    assert list(proposed) == ["720p"]
    # a longer batch would leave more than 2 % over: (17 - 1) / 2 of 400
    assert proposed["720p"][64] == (1.0, 17)
    found = measure(data, proposed, GRID)
    assert found.kept == pytest.approx(391 / 400)
    assert found.rows["720p|64"]["crop"] == pytest.approx(0.0, abs=1e-3)


def test_clips_of_all_sizes_find_a_place_and_none_is_enlarged() -> None:
    data = clips((50, 20, 240, 426), (50, 20, 720, 1280), (50, 70, 480, 640))
    proposed = propose_buckets(data, Wishes([16, 64], MUCH, GRID))
    assert list(proposed) == ["720p", "512", "240p"]  # 512 x 512 is what 480 x 640 fills
    assert measure(data, proposed, GRID).kept > 0.95


def test_a_length_that_does_not_fit_the_memory_goes_to_a_smaller_resolution() -> None:
    data = clips((40, 64, 240, 426), (40, 64, 720, 1280))
    budget = 16 * 45 * 80 + 5000  # one sample of 16 frames of 720p
    proposed = propose_buckets(data, Wishes([16, 64], budget, GRID))
    assert proposed["720p"][64] == (0.0, None)
    found = measure(data, proposed, GRID)
    assert found.rows["240p|64"]["share"] == pytest.approx(1.0)
    assert found.rows["240p|64"]["batch_size"] == 2


@pytest.mark.parametrize("limit", [60_000, 20_000, 10_000, 3_000])
def test_an_epoch_has_no_more_tokens_a_sample_than_allowed(limit: int) -> None:
    data = clips((200, 70, 480, 854), (100, 20, 480, 640))
    proposed = propose_buckets(data, Wishes([16, 64], MUCH, GRID, tokens=limit, smallest="144p"))
    found = measure(data, proposed, GRID)
    assert found.tokens <= limit
    assert found.tokens > 0.75 * limit or limit == 60_000
    assert found.kept > 0.95


def test_images_get_a_bucket_of_one_frame() -> None:
    proposed = propose_buckets(
        clips((100, 1, 512, 512), (100, 16, 512, 512)), Wishes([16], 9**9, GRID)
    )
    assert set(proposed["512"]) == {1, 16}


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"lengths": [100]}, "every one of 5 clips is shorter than 100 frames"),
        ({"token_budget": 10}, "not one sample of 480p and 16 frames fits the memory"),
        ({"tokens": 5.0}, "even 480p alone has more than 5 tokens"),
    ],
)
def test_wishes_that_can_not_be_met_are_one_sentence(wishes: dict, sentence: str) -> None:
    asked = {"lengths": [16], "token_budget": MUCH, "grid": GRID} | wishes
    with pytest.raises(ConfigError, match=sentence):
        propose_buckets(clips((5, 20, 480, 854)), Wishes(**asked))


def test_the_same_clips_give_the_same_text_to_paste() -> None:
    data = clips((30, 70, 480, 854), (30, 20, 720, 1280))
    wishes = Wishes([16, 64], 30_000, GRID, tokens=12_000, smallest="144p")
    first, second = (propose_buckets(data, wishes) for _ in range(2))
    assert snippet(first) == snippet(second)
    pasted: dict = {}
    exec(snippet(first), pasted)
    assert pasted["bucket_config"] == first


def test_a_config_of_one_fixed_size_is_measured_too(tmp_path: Path) -> None:
    clips((12, 20, 240, 426)).assign(path="x").to_csv(tmp_path / "clips.csv")
    words = ["plan", str(REPOSITORY / "configs/opensora/train/16x256x256.py")]
    words += ["--propose-buckets", f"{tmp_path}/clips.csv", "--num-frames", "1,4"]
    assert main([*words, "--batch-size", "4"]) == 0


def test_table_and_picture_name_every_bucket() -> None:
    data = clips((40, 20, 480, 854))
    found = {name: measure(data, {name: {16: (1.0, 2)}}, GRID) for name in ("480p", "240p")}
    for text in (proposal_table(found), plot_proposal(found)):
        for word in ("480p|16", "240p|16", "all", "100.0 %"):
            assert word in text


@pytest.fixture(scope="module")
def real_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIPS of 2 to 4 seconds of four real videos; no file is written."""
    default = REPOSITORY.parent / "shared" / "data" / "videos"
    folder = Path(os.environ.get("OPENSORA_TEST_VIDEOS", default))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; OPENSORA_TEST_VIDEOS names the folder of real clips")
    scenes = detect_scenes(ingest_videos([folder]), SceneSettings("none"))
    rows = []
    for _, group in scenes[scenes["status"] == OK].groupby("video_id", sort=False):
        cut = group.to_dict("records")
        info = probe(cut[0]["path"])
        pieces = plan_clips(cut, info, cut[0]["sha256"], Path("clips"), ClipSettings(2.0, 4.0))
        rows += [piece.row for piece in pieces]
    path = tmp_path_factory.mktemp("real") / "clips.csv"
    write_table(pd.DataFrame(rows), path)
    return path


def test_the_proposal_for_real_clips_keeps_more_than_stage_1_at_equal_tokens(
    real_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", str(REPOSITORY / STAGE1), "--propose-buckets", str(real_clips)]
    words += ["--gpu-memory", "80", "--num-frames", "16,64", "--plot", f"{tmp_path}/buckets.svg"]
    assert main(words) == 0
    said = capsys.readouterr().out
    pasted: dict = {}
    exec("bucket_config" + said.partition("\nbucket_config")[2].partition("\n}")[0] + "\n}", pasted)
    data = pd.read_csv(real_clips)
    data = data[data["status"] == OK].reset_index(drop=True)
    before = load_config(REPOSITORY / STAGE1).to_dict()["bucket_config"]
    was, now = (measure(data, b, GRID, frame_interval=3) for b in (before, pasted["bucket_config"]))
    assert now.tokens <= was.tokens
    assert now.kept > was.kept + 0.2
    assert (
        f"{100 * now.kept:.1f} % of {len(data)} clips kept (before: {100 * was.kept:.1f} %)" in said
    )
    assert (tmp_path / "buckets.svg").read_text().count("144p|16") >= 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--propose-buckets", "m.csv", "--num-frames", "16,many"],
            "expected numbers such as 16,64",
        ),
        (["--propose-buckets", "m.csv", "--explain"], "--propose-buckets takes"),
        ([STAGE1, "--num-frames", "16"], "--num-frames belongs to --propose-buckets"),
        ([], "need a config"),
    ],
)
def test_words_that_do_not_go_together_are_refused(
    words: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == EXIT_USER
    assert sentence in capfd.readouterr().err
