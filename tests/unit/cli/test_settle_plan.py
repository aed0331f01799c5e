"""`opensora settle-plan` from the command line, behind assign-buckets."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import main
from opensora.core.io import read_json
from opensora.plans.compile import BatchPlan

CONFIG = 'bucket_config = {"32px": {8: (1.0, 2)}}\nepochs = 2\nscheduler = dict(type="rflow")\n'


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "config.py").write_text(CONFIG)
    rows = [(f"v{i}", f"v{i}.mp4", f"a clip {i}", 8, 32, 32, 8.0) for i in range(6)]
    rows += [("short", "s.mp4", "short", 3, 32, 32, 8.0)]
    columns = ["id", "path", "text", "num_frames", "height", "width", "fps"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    words = ["--plan", "plan.parquet", "--left-out", "left_out.parquet"]
    command = ["assign-buckets", "config.py", "--data-path", "manifest.csv", *words]
    command = [f"{tmp_path}/{word}" if "." in word else word for word in command]
    assert main(command) == 0
    pairs = BatchPlan(tmp_path / "plan.parquet").items().assign(status="ok", detail="")
    shards = [pairs.iloc[:3], pairs.iloc[3:]]
    for number, rows_of in enumerate(shards):
        rows_of.to_parquet(tmp_path / f"latents{number}.parquet", index=False)
        texts = rows_of.drop(columns="bucket")
        texts.to_parquet(tmp_path / f"embeddings{number}.parquet", index=False)
    return tmp_path


def settle(world: Path, *more: str, stored: bool = True) -> int:
    words = ["--manifest", "manifest.csv", "--plan", "plan.parquet"]
    words += ["--left-out", "left_out.parquet", "--settled", "settled.parquet"]
    words += ["--rejected", "rejected.csv", "--ledger", "ledger.json"]
    if stored:
        for name in ("latents", "embeddings"):
            words += [f"--{name}", *(f"{name}{shard}.parquet" for shard in (0, 1))]
    return main(["settle-plan", *(f"{world}/{w}" if "." in w else w for w in words), *more])


def mark(world: Path, name: str, clip: str) -> None:
    table = pd.read_parquet(world / name)
    table.loc[table["id"] == clip, ["status", "detail"]] = ["corrupt", "ends early"]
    table.to_parquet(world / name, index=False)


def test_nothing_rejected_is_the_same_plan_and_a_ledger(world, capsys):
    assert settle(world) == 0
    assert "0 of 6 clips rejected, 6 of 6 micro batches stay" in capsys.readouterr().out
    assert (world / "plan.parquet").read_bytes() == (world / "settled.parquet").read_bytes()
    assert (world / "rejected.csv").read_text() == "id,path,stage,reason,detail\n"
    ledger = read_json(world / "ledger.json")
    assert ledger["seen"] == [{"times": 2, "clips": 6, "seconds": 6.0}]
    assert ledger["never"]["no_bucket"] == {"too_short": {"clips": 1, "seconds": 0.375}}
    assert settle(world, stored=False) == 0
    assert read_json(world / "ledger.json") == ledger


def test_a_marked_clip_is_dealt_out_and_listed(world, capsys):
    mark(world, "latents0.parquet", "v1")
    assert settle(world, "--max-rejected", "0.2") == 0
    assert "1 of 6 clips rejected, 4 of 6 micro batches stay" in capsys.readouterr().out
    settled = BatchPlan(world / "settled.parquet")
    assert "v1" not in set(settled.items()["id"])
    rows = (world / "rejected.csv").read_text().splitlines()[1:]
    assert rows == ["v1,v1.mp4,encode_videos,corrupt,ends early"]
    ledger = read_json(world / "ledger.json")
    assert ledger["never"]["rejected"]["corrupt"] == {"clips": 1, "seconds": 1.0}


def test_too_many_marked_clips_are_one_sentence(world, capsys):
    mark(world, "embeddings1.parquet", "v4")
    assert settle(world) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("opensora settle-plan: 1 of the 6 clips of the plan, 16.7 %, can not")
    assert "corrupt 1 (such as 'v4': ends early)" in error
    assert not (world / "settled.parquet").exists()
    assert settle(world, "--max-rejected", "2") == 2
    assert "expected a number from 0 to 1" in capsys.readouterr().err
