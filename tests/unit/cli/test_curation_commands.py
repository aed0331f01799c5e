"""The six commands of curation, one after another, as the workflow calls them."""

import json
from pathlib import Path

import pytest

from opensora.cli.main import main
from opensora.tables import manifest as manifests
from opensora.tables.columns import CLIPS, MANIFEST, REJECTED
from opensora.tables.io import read_table, write_table
from opensora.tables.manifest import read_manifest


@pytest.fixture
def run(tmp_path: Path, tiny_video: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one film, a text named .mp4, and captions of the film's three scenes."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "film.mp4").write_bytes(tiny_video.read_bytes())
    (tmp_path / "raw" / "text.mp4").write_text("no video " * 9)
    rows = [f"raw/film.mp4,{2.0 * k},{2.0 * k + 2},Scene {k} moves right" for k in range(3)]
    (tmp_path / "captions.csv").write_text("path,start,end,text\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curate() -> None:
    """Up to the scores, in one shard."""
    for command in (
        "ingest-videos raw --output v.csv --shards-dir s --num-shards 1",
        "detect-scenes --videos s/0000.csv --output scenes.csv",
        "split-clips --scenes scenes.csv --output clips.csv --store c --max-s 2",
        "caption-clips --clips clips.csv --output cap.csv --captioner sidecar"
        " --sidecar captions.csv",
        "score-clips --scorer flow --clips clips.csv --output flow.csv",
        "score-clips --scorer technical --clips clips.csv --output technical.csv",
    ):
        assert main(command.split()) == 0


def build(*more: str) -> int:
    tables = "--videos v.csv --scenes scenes.csv --clips clips.csv --captions cap.csv"
    outputs = "--manifest m.csv --rejected r.csv --funnel f.json"
    scores = "--scores flow=flow.csv technical=technical.csv"
    return main(["build-manifest", *f"{tables} {outputs} {scores}".split(), *more])


def test_the_commands_turn_a_folder_into_a_manifest(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curate()
    tables = ("v.csv", "scenes.csv", "clips.csv", "cap.csv", "flow.csv", "technical.csv")
    assert main(["index-tables", *tables, "--output", "t.json"]) == 0
    words = ("--validation-fraction", "0", "--index", "t.json")
    assert build("--filters", '{"flow": {"min": 0.02}}', *words) == 0
    manifest = read_table("m.csv", MANIFEST)
    assert list(manifest["text"]) == [f"scene {k} moves right" for k in range(3)]
    assert set(manifest["num_frames"]) == {16}
    assert {"flow", "sharpness", "frozen_ratio"} <= set(manifest.columns)
    rejected = read_table("r.csv", REJECTED)
    assert rejected[["stage", "reason"]].to_numpy().tolist() == [["ingest_videos", "not_a_video"]]
    assert json.loads(Path("f.json").read_text())["kept"]["seconds"] == 6.0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ingest-videos: 1 of 2 files usable in 1 shard -> v.csv"
    assert len(lines) == 8


def test_other_tables_than_were_indexed_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("v", "scenes", "clips", "cap", "flow", "technical"):
        Path(f"{name}.csv").write_text("id\n")
    assert main(["index-tables", "v.csv", "none-{shard}.csv", "--output", "t.json"]) == 2
    assert main(["index-tables", "v.csv", "none.csv", "--output", "t.json"]) == 2
    assert main(["index-tables", "v.csv", "clips.csv", "--output", "t.json"]) == 0
    assert build("--index", "t.json") == 2
    said = capsys.readouterr()
    told = said.err.splitlines()
    assert told[0].endswith("TABLE none-{shard}.csv: give --num-shards N too, as there are shards")
    assert told[1].endswith("none.csv: can not be read (No such file or directory)")
    expected = (
        "cap.csv: is not what t.json names; make both anew (in a run: `--forcerun index_tables`)"
    )
    assert told[2].endswith(expected)
    assert said.out == "index-tables: 2 tables of 6 B -> t.json\n"


def test_a_clip_is_in_the_partition_of_its_table(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The film's clips are dealt out to two tables by hand; a third has none."""
    curate()
    clips = read_table("clips.csv", CLIPS)
    for name, rows in {"0000": clips[1:], "0001": clips[:0], "0002": clips[:1]}.items():
        write_table(rows, f"c/{name}.parquet", CLIPS)
    words = "build-manifest --videos v.csv --scenes scenes.csv --captions cap.csv"
    words += " --manifest m --csv m.csv --rejected r.csv --funnel f.json --clips"
    tables = [f"c/000{k}.parquet" for k in range(3)]
    monkeypatch.setattr(manifests, "CSV_ROWS", 2)
    assert main([*words.split(), *tables]) == 0
    manifest = read_manifest("m")
    assert manifest["shard"].tolist() == [0, 0, 2]
    assert manifest["id"].tolist() == [*clips["id"][1:3], clips["id"][0]]  # the last is no video
    names = [*(f"000{k}.parquet" for k in (0, 1, 2)), "index.json"]
    assert sorted(path.name for path in Path("m").iterdir()) == names
    assert not Path("m.csv").exists()
    assert main([*words.split(), *tables, "--csv-when", "always"]) == 0
    assert len(read_table("m.csv", MANIFEST)) == 3
    words = "export --manifest m --format csv --output out.csv"
    assert main(words.split()) == 0
    assert Path("out.csv").read_bytes() == Path("m.csv").read_bytes()


@pytest.mark.parametrize(
    ("clips", "told"),
    [
        (["a/1.csv", "b/01.csv"], "m/01.parquet: has the number of 1.parquet; each needs its own"),
        (["clips.csv"], "m/clips.parquet: a partition is named by its number, as 0000.parquet"),
    ],
)
def test_partitions_need_numbers(
    clips: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = "build-manifest --videos v --scenes s --captions c"
    words = f"{tables} --manifest m --rejected r.csv --funnel f".split()
    assert main([*words, "--clips", *clips]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--filters", '{"flow": {"min": 99}}'), "flow_too_low (3)"),
        (("--filters", '{"flaw": {"min": 1}}'), "did you mean 'flow'?"),
        (("--filters", "{flow: 1}"), "expected JSON"),
        (("--scores", "flow.csv"), "expected NAME=TABLE"),
    ],
)
def test_mistakes_are_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, str], words: str
) -> None:
    curate()
    capsys.readouterr()
    assert build(*more) == 2
    assert words in capsys.readouterr().err
    assert not Path("m.csv").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("ingest-videos nowhere --output v.csv --shards-dir s --num-shards 1", "no such file"),
        ("detect-scenes --videos none.csv --output o.csv", "rule ingest_videos makes it"),
        ("score-clips --scorer flaw --clips none.csv --output o.csv", "did you mean 'flow'?"),
        ("score-clips --scorer match --clips none.csv --output o.csv", "--clip MODEL"),
        ("caption-clips --clips n.csv --output o.csv --captioner side", "mean 'sidecar'?"),
    ],
)
def test_wrong_arguments_end_with_code_two(
    run: Path, capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    assert main(words.split()) == 2
    assert told in capsys.readouterr().err
