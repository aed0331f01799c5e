"""A video leaves every run and the store; what is not its own stays to the byte."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.cli.main import main
from opensora.core.io import read_json, sha256_file
from opensora.precompute.upkeep import forget as module
from opensora.precompute.upkeep.forget import find_held, forget
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.keys import text_key
from opensora.stores.latents import LatentStore
from opensora.stores.runs import Results
from opensora.tables.columns import CAPTIONS, MANIFEST
from opensora.tables.io import read_table, write_table
from opensora.tables.part_index import INDEX, write_index
from tests.results_folder import clips_of, encode_shard, read_everything, run_command

BUCKET = Bucket("24px", 4, "1.00")
TABLES = ("ingest", "scenes", "clips", "captions", "scores", "manifest")


def video(results, name="sun") -> pd.Series:
    table = read_table(results / "one/ingest/0000.parquet")
    return table[table["path"].str.endswith(f"{name}.mp4")].iloc[0]


def everything(results) -> dict:
    return {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}


def mentions(results, words: set[str]) -> list[str]:
    """Files that hold one of some texts, in their bytes or in the cells of their tables."""
    found = []
    for path in results.rglob("*"):
        if path.suffix == ".parquet" and path.name not in ("settled.parquet",):
            text = read_table(path).to_csv()
        else:
            text = path.read_bytes().decode("latin-1") if path.is_file() else ""
        found += [str(path.relative_to(results))] if any(word in text for word in words) else []
    return found


def values(run, ids) -> dict:
    """Latents, tokens and checksums of some clips."""
    latents, texts = LatentStore(run / "latents/stage1"), EmbeddingStore(run / "embeddings")
    sums = latents.rows.set_index("id")["checksum"], texts.rows.set_index("id")["checksum"]
    return {
        name: (latents.get(name, BUCKET).clone(), texts.get(name).clone(), *(s[name] for s in sums))
        for name in ids
    }


@pytest.mark.parametrize("by", ["path", "id", "sha256"])
def test_a_video_leaves_every_run_and_the_store(results, video_world, by, capsys):
    sun = video(results)
    clips = clips_of(results / "one")
    its = clips[clips["video_id"] == sun["id"]]
    others = set(clips["id"]) - set(its["id"])
    write_index(
        results / "one/manifest" / INDEX, sorted((results / "one/manifest").glob("*.parquet"))
    )
    before = {run: values(results / run, others) for run in ("one", "two")}
    assert main(["doctor", "--forget", sun[by], "--results", str(results), "--yes"]) == 0
    said = capsys.readouterr().out.rstrip()
    assert said.endswith(
        f"remove {sun['path']} from the folder of videos, or it comes back; models that saw it"
        " stay, delete them by hand: "
        + ", ".join(
            f"{results}/{run}/{model}"
            for run in ("one", "two")
            for model in ("models/vae (may have)", "train/stage1")
        )
    )
    words = {sun["sha256"], *its["id"], *its["sha256"], text_key("the sun rises")}
    kept = {f"{run}/buckets/stage1/{k:04d}.parquet" for run in ("one", "two") for k in range(2)}
    assert set(mentions(results, words)) <= {*kept, "one/buckets/stage1/settled.parquet"} | {
        "two/buckets/stage1/settled.parquet"
    }  # plans, which the next run makes anew
    assert not list(results.glob("*/report/*"))
    assert len(list((results / "store/clips").rglob("*.mp4"))) == 3
    assert not (results / "two/manifest" / INDEX).exists()  # a run of before
    for run in ("one", "two"):
        after = values(results / run, others)
        for name, old in before[run].items():
            assert torch.equal(old[0], after[name][0])
            assert torch.equal(old[1], after[name][1])
            assert old[2:] == after[name][2:]
        assert len(EmbeddingStore(results / run / "embeddings")) == len(others)
        assert (results / run / "train/stage1/model.safetensors").exists()
        assert read_everything(results / run, encoders=video_world) == len(others)
    assert main(["doctor", "--forget", sun[by], "--results", str(results)]) == 2


def test_texts_that_other_clips_have_stay(results):
    assert (
        main(["doctor", "--forget", video(results)["path"], "--results", str(results), "--yes"])
        == 0
    )
    index = next((results / "store/embeddings").rglob("*of*/*.parquet"))
    expected = {text_key(text) for text in ("a field", "rain falls", "a field in the rain")}
    assert set(pd.read_parquet(index)["key"]) == expected


def test_without_yes_it_lists_and_changes_nothing(results, capsys):
    before = everything(results)
    assert main(["doctor", "--forget", video(results)["id"], "--results", str(results)]) == 0
    said = capsys.readouterr().out
    counts = (
        "manifest 3, captions 3, scores 3, clips 3, scenes 1, ingest 1, latents 3, embeddings 3"
    )
    for run in ("one", "two"):
        assert f"run {run}, rows: manifest.csv 3, rejected.csv 1, {counts}" in said
    assert "store, clips: 3 files" in said
    assert "store, latents: 3 rows of 1 files" in said
    assert "store, embeddings: 1 rows of 1 files" in said
    assert "store, scores: 3 rows" in said
    assert "store, captions: 3 rows" in said
    assert said.rstrip().endswith("--yes does it")
    assert everything(results) == before


def test_what_no_run_names_any_more_goes_too(results):
    """Clips of an earlier cut, which stand in the store's facts, and their latents."""
    for run in ("one", "two"):
        for table in ("clips", "manifest"):
            for path in (results / run / table).glob("*.parquet"):
                frame = read_table(path)
                frame.iloc[1:].to_parquet(path) if len(frame) > 1 else None
    sun = video(results)
    assert main(["doctor", "--forget", sun["path"], "--results", str(results), "--yes"]) == 0
    assert len(list((results / "store/clips").rglob("*.mp4"))) == 3
    index = next((results / "store/latents").rglob("*of*/*.parquet"))
    assert len(pd.read_parquet(index)) == 3


def test_a_video_of_all_rows_leaves_no_file(results):
    for name in ("sun", "rain"):
        path = video(results, name)["path"]
        assert main(["doctor", "--forget", path, "--results", str(results), "--yes"]) == 0
    assert not list((results / "store").rglob("*.safetensors"))
    assert not list((results / "store/clips").rglob("*.mp4"))
    for kind in ("scores", "captions"):
        assert not list((results / "store" / kind).rglob("*.jsonl"))
    assert len(LatentStore(results / "one/latents/stage1")) == 0


STEPS = ("write_rest", "rewrite_indexes", "remove_old", "remove_rows", "_drop", "_forget_probed")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [0, 1])
def test_a_crash_leaves_stores_that_can_be_read_and_the_same_command_goes_on(
    results, video_world, step, after, monkeypatch
):
    sun = video(results)
    whole = Results(results)
    calls = []
    original = getattr(module, step)

    def crashes(*arguments):
        calls.append(step)
        if len(calls) > after:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, step, crashes)
        try:
            forget(whole, find_held(whole, sun["path"]))
        except KeyboardInterrupt:
            pass
        else:
            assert len(calls) <= after
    for run in ("one", "two"):
        for root in (LatentStore(results / run / "latents/stage1"),
                     EmbeddingStore(results / run / "embeddings")):  # fmt: skip
            assert root.verify() > 0
            assert len(root) in (3, 6)
    if len(calls) > after:
        assert main(["doctor", "--forget", sun["sha256"], "--results", str(results), "--yes"]) == 0
    for run in ("one", "two"):
        assert read_everything(results / run, encoders=video_world) == 3
        assert len(read_table(results / run / "ingest/0000.parquet")) == 1
        assert len(clips_of(results / run)) == 3
    assert len(list((results / "store/latents").rglob("*.safetensors"))) == 1
    assert not [path for path in (results / "store/clips").rglob(f"*{sun['sha256']}*")]


def test_an_unknown_video_and_a_name_of_two_are_refused(results, capsys):
    before = everything(results)
    assert main(["doctor", "--forget", "nothing.mp4", "--results", str(results), "--yes"]) == 2
    assert "no run knows the video 'nothing.mp4'" in capsys.readouterr().err
    assert everything(results) == before
    table = read_table(results / "two/ingest/0000.parquet")
    other = sha256_file(results / "one/config.yaml")
    table["sha256"] = [other if path.endswith("sun.mp4") else "" for path in table["path"]]
    table.to_parquet(results / "two/ingest/0000.parquet")
    assert main(["doctor", "--forget", video(results)["id"], "--results", str(results)]) == 2
    message = capsys.readouterr().err
    assert "names 2 different videos" in message
    assert other in message


def test_a_damaged_data_file_is_named_before_anything_changes(results, capsys):
    data = next((results / "store/latents").rglob("*.safetensors"))
    data.write_bytes(data.read_bytes()[:100])
    before = everything(results)
    assert (
        main(["doctor", "--forget", video(results)["path"], "--results", str(results), "--yes"])
        == 2
    )
    message = capsys.readouterr().err
    assert data.name in message
    assert "its other rows would be lost" in message
    assert everything(results) == before


def test_rows_of_int8_keep_their_bytes_too(results, video_world):
    run = results / "one"
    words = ["--manifest", run / "manifest", "--text-encoder", video_world / "t5", "--int8"]
    words += ["--store", results / "store/embeddings", "--output", run / "embeddings/0000.parquet"]
    run_command("encode-captions", *words, "--max-length", 20, "--device", "cpu")
    clips = clips_of(run)
    sun = video(results)
    others = clips[clips["video_id"] != sun["id"]]["id"]
    before = EmbeddingStore(run / "embeddings")
    assert before.identity["int8"]
    expected = {name: before.get(name).clone() for name in others}
    assert main(["doctor", "--forget", sun["id"], "--results", str(results), "--yes"]) == 0
    after = EmbeddingStore(run / "embeddings")
    assert after.verify() > 0
    assert all(torch.equal(after.get(name), tokens) for name, tokens in expected.items())
    facts = read_json(after.rows["file"].map(Path)[0].with_suffix(".json"))
    norms = [tokens.double().norm(dim=1) for tokens in expected.values()]
    assert facts["captions"] == 3
    assert facts["norm"][0] == pytest.approx(float(torch.cat(norms).min()), rel=1e-2)  # bf16 read


def test_second_captions_go_with_their_clip_and_the_others_keep_their_numbers(results, video_world):
    run = results / "one"
    manifest = read_table(run / "manifest/0000.parquet").assign(num_captions=2)
    write_table(manifest, run / "manifest/0000.parquet", MANIFEST)
    first = manifest[["id", "text"]].assign(k=0)
    rows = pd.concat([first, first.assign(k=1, text="second of " + first["id"])])
    rows = rows.assign(caption=rows["text"], text_len=1, status="ok", detail="")
    write_table(rows, results / "captions.parquet", CAPTIONS)
    words = ["--manifest", run / "manifest", "--text-encoder", video_world / "t5"]
    words += ["--captions", results / "captions.parquet", "--store", results / "store/embeddings"]
    words += ["--output", run / "embeddings/0000.parquet", "--max-length", 20, "--device", "cpu"]
    run_command("encode-captions", *words)
    (results / "captions.parquet").unlink()
    clips, sun = clips_of(run), video(results)
    mine = set(clips[clips["video_id"] == sun["id"]]["id"])
    before = EmbeddingStore(run / "embeddings")
    others = [(name, k) for name in manifest["id"] if name not in mine for k in range(2)]
    expected = {key: before.get(*key).clone() for key in others}
    assert main(["doctor", "--forget", sun["id"], "--results", str(results), "--yes"]) == 0
    after = EmbeddingStore(run / "embeddings")
    assert list(after.rows[["id", "k"]].itertuples(index=False, name=None)) == others
    assert all(torch.equal(after.get(*key), tokens) for key, tokens in expected.items())
    assert not mentions(results / "store/embeddings", {f"second of {name}" for name in mine})
    assert mentions(results / "store/embeddings", {f"second of {others[0][0]}"})


def test_a_clip_that_is_its_whole_source_is_forgotten_and_the_source_stays(results, video_world):
    """As with videos that are one scene of an allowed length, and images."""
    sun, run = video(results), results / "one"
    shutil.rmtree(results / "two")
    clips = clips_of(run)
    whole = clips.loc[clips["video_id"] == sun["id"], "id"].iloc[0]
    manifest = read_table(run / "manifest/0000.parquet")
    manifest.loc[manifest["id"] == whole, ["path", "sha256"]] = [sun["path"], sun["sha256"]]
    write_table(manifest, run / "manifest/0000.parquet", MANIFEST)
    items = read_table(run / "buckets/stage1/0000.parquet")
    items.loc[items["id"] == whole, ["path", "sha256"]] = [sun["path"], sun["sha256"]]
    write_table(items, run / "buckets/stage1/0000.parquet")
    encode_shard(results, run, video_world, 0, 1)
    assert len(list((results / "store/latents").rglob("*.safetensors"))) == 2
    assert main(["doctor", "--forget", sun["id"], "--results", str(results), "--yes"]) == 0
    assert sha256_file(sun["path"]) == sun["sha256"]
    for index in (results / "store/latents").rglob("*of*/*.parquet"):
        assert sun["sha256"] not in set(pd.read_parquet(index)["sha256"])
    assert read_everything(results / "one", encoders=video_world) == 3
