"""What no index names is freed, and nothing else."""

import os
import shutil

import pytest

from opensora.cli.main import main
from opensora.stores.index import LATENT_COLUMNS, read_index, write_index
from opensora.tables.io import read_table
from tests.results_folder import age, clips_of, read_everything

SUFFIXES = (".safetensors", ".parquet", ".json", ".png")


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def words_for(results, is_sweep: bool) -> list[str]:
    """To sweep, or to forget a video that both runs know."""
    path = str(read_table(results / "one/ingest/0000.parquet")["path"][0])
    return ["--sweep", str(results)] if is_sweep else ["--forget", path, "--results", str(results)]


def sweep(results, *words: str) -> int:
    return main(["doctor", "--sweep", str(results), *words])


def test_where_everything_is_named_nothing_goes(results, capsys):
    before = files(results)
    assert sweep(results, "--yes") == 0
    assert files(results) == before
    said = capsys.readouterr().out
    assert [f"{kind}: none" in said for kind in ("clips", "latents", "embeddings")] == [True] * 3


def test_what_a_removed_run_alone_named_is_listed_and_freed_with_yes_only(
    results, video_world, capsys
):
    store = results / "store"
    kept = files(store)
    extra = [
        store / "clips/ab" / f"{'ab' * 16}.mp4",
        *((store / "latents/x/0000of0001/file").with_suffix(suffix) for suffix in SUFFIXES),
        store / "latents/x/identity.json",
        *((store / "embeddings/y/0000of0001/file").with_suffix(suffix) for suffix in SUFFIXES),
    ]
    for path in extra:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1_000_000))
        age(path, hours=72)
    assert sweep(results) == 0
    said = capsys.readouterr().out
    assert "clips: 1 files, 1.0 MB, the newest 3.0 days old" in said
    assert "latents: 1 files, 4.0 MB, the newest 3.0 days old" in said
    assert "--yes frees it" in said
    assert files(store) == kept | set(extra)
    assert sweep(results, "--yes") == 0
    assert files(store) == kept
    assert not (store / "latents/x").exists()
    for run in ("one", "two"):
        assert read_everything(results / run, encoders=video_world) == 6


def test_a_file_of_which_one_index_names_one_row_stays(results, video_world):
    shutil.rmtree(results / "one")
    (results / "two/latents/stage1/0000.parquet").unlink()  # its shard 0001 has 3 of the 6 rows
    (results / "two/embeddings/0000.parquet").unlink()
    before = files(results / "store")
    (results / "two/config.yaml").unlink()  # which says that an index is missing
    assert sweep(results, "--yes") == 0
    assert files(results / "store") == before
    assert read_everything(results / "two", encoders=video_world) == 6


def test_clips_of_the_manifest_of_another_run_stay(results):
    for run in ("one", "two"):
        (results / run / "clips/0000.parquet").unlink()
        (results / run / "config.yaml").unlink()
    before = files(results / "store")
    assert sweep(results, "--yes") == 0
    assert files(results / "store") == before
    shutil.rmtree(results / "one/manifest")
    shutil.rmtree(results / "two/manifest")
    assert sweep(results, "--yes") == 0
    assert len(before - files(results / "store")) == 6


def test_young_files_and_fresh_scratch_stay_and_old_leftovers_go(results, capsys):
    store = results / "store"
    young = store / "latents/x/0000of0001/new.safetensors"
    scratch = [store / f"clips/.scratch-{k}" / "part.mp4" for k in range(2)]
    aside = store / "embeddings/y/0000of0001/a.safetensors.1234.aside"
    for path in (young, *scratch, aside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    age(scratch[1].parent, hours=25)
    age(aside, hours=25)
    assert sweep(results, "--yes") == 0
    said = capsys.readouterr().out
    assert "latents: none, 1 younger than an hour stay" in said
    assert "leftovers: 2 files" in said
    assert [path.exists() for path in (young, *scratch, aside)] == [True, True, False, False]


def test_links_are_not_followed(results, tmp_path):
    outside = tmp_path / "outside" / "0000of0001"
    outside.mkdir(parents=True)
    victims = [outside / "a.safetensors", outside / ("ab" * 16 + ".mp4")]
    for path in victims:
        path.write_bytes(b"x")
    (results / "store/latents/linked").symlink_to(outside.parent)
    (results / "store/clips/ab").symlink_to(outside)
    (results / "store/clips/.scratch-linked").symlink_to(outside)
    age(outside, hours=99)
    age(results / "store", hours=99)
    assert sweep(results, "--yes") == 0
    assert all(path.exists() for path in victims)
    shutil.move(results / "store", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", results / "store")
    assert sweep(results) == 2


@pytest.mark.parametrize("is_sweep", [True, False])
def test_it_is_refused_while_a_run_goes_on(results, is_sweep, capsys):
    before = files(results)
    locks = results.parent / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/two/clips/0000.parquet\n")
    assert main(["doctor", *words_for(results, is_sweep), "--yes"]) == 2
    message = capsys.readouterr().err
    assert "run two holds its lock" in message
    assert "Traceback" not in message
    assert files(results) == before


@pytest.mark.parametrize(
    "index",
    ["clips/0000.parquet", "manifest/0001.parquet", "latents/stage1/0001.parquet",
     "embeddings/0000.parquet"],
)  # fmt: skip
@pytest.mark.parametrize("is_sweep", [True, False])
def test_an_index_that_can_not_be_read_frees_nothing(results, index, is_sweep, capsys):
    (results / "two" / index).write_bytes(b"PAR1 nothing")
    before = {path: path.read_bytes() for path in files(results)}
    assert main(["doctor", *words_for(results, is_sweep), "--yes"]) == 2
    message = capsys.readouterr().err
    assert "run two" in message
    assert index in message
    assert {path: path.read_bytes() for path in files(results)} == before


def test_an_index_that_a_stopped_job_lost_frees_nothing(results, capsys):
    (results / "one/latents/stage1/0000.parquet").unlink()
    shutil.rmtree(results / "two")
    before = files(results)
    assert sweep(results) == 0
    assert "it would be refused: run one lacks 1 of 1 indexes" in capsys.readouterr().out
    assert sweep(results, "--yes") == 2
    assert "run one lacks 1 of 1 indexes" in capsys.readouterr().err
    assert files(results) == before


def test_a_folder_without_runs_or_store_is_refused(tmp_path, capsys):
    (tmp_path / "store").mkdir()
    assert sweep(tmp_path, "--yes") == 2
    assert "holds no run" in capsys.readouterr().err
    assert sweep(tmp_path / "store", "--yes") == 2
    assert "holds no store" in capsys.readouterr().err


def test_runs_of_the_layout_before_name_nothing_and_are_no_hindrance(results):
    old = results / "before/embeddings"
    old.mkdir(parents=True)
    (old / "index.parquet").write_bytes(b"of another form")
    assert sweep(results, "--yes") == 0
    assert len(clips_of(results / "one")) == 6


def test_where_no_index_names_anything_nothing_is_freed(results, capsys):
    for run in ("one", "two"):
        for name in ("clips", "manifest", "latents", "embeddings"):
            shutil.rmtree(results / run / name)
    before = files(results)
    assert sweep(results, "--yes") == 2
    assert "no run in it names a file of the store" in capsys.readouterr().err
    assert files(results) == before


def test_indexes_of_commands_typed_by_hand_count(results):
    """They need no folder of a stage."""
    (results / "one/latents/stage1/0000.parquet").rename(results / "one/latents/0000.parquet")
    index = results / "one/latents/0000.parquet"
    rows, record = read_index(index)
    store = (index.parent / "stage1" / record["store"]).resolve()
    places = {"columns": LATENT_COLUMNS, "store": store, "identity": record["identity"]}
    write_index(index, rows, **places, files=record["files"], gate={})
    shutil.rmtree(results / "two")
    (results / "one/config.yaml").unlink()
    before = files(results / "store")
    assert sweep(results, "--yes") == 0
    assert files(results / "store") == before
