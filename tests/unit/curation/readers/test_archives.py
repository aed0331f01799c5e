"""Clips that lie in other files: every sample is a clip or a row with its reason."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opensora.cli.main import EXIT_USER, main
from opensora.core.errors import TableError
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.curation.readers.reader import read_clips
from opensora.media.encode import write_video
from opensora.tables.io import read_table


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    write_video(tmp_path / "film.mp4", np.full((9, 16, 16, 3), 90, np.uint8), 8)
    return (tmp_path / "film.mp4").read_bytes()


def tar(path: Path, entries: Mapping[str, bytes | tarfile.TarInfo], **options: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def taken(path: Path, store: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Captions that stay, and (detail -> reason) of the rows that do not."""
    made = import_manifest(read_clips(path, store=store))
    lost = made.rejected
    assert made.manifest["path"].map(lambda name: Path(name).is_relative_to(store)).all()
    return (
        dict(zip(made.manifest["sha256"], made.manifest["text"], strict=True)),
        dict(zip(lost["detail"], lost["reason"], strict=True)),
    )


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".json")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_with_texts_and_objects(tmp_path: Path, film: bytes, kind: int) -> None:
    other = film + b"\0" * 8
    long = "d/" + "long" * (20 if kind == tarfile.USTAR_FORMAT else 60)
    facts = {"caption": "two é", "fps": 3, "height": 9, "licence": "CC0", "nested": {"a": 1}}
    path = tar(
        tmp_path / "shards/a.tar",
        {
            **{"s/1.mp4": film, "s/1.txt": b"one\n", "s/1.json": b'{"text": "worse"}'},
            **{f"{long}.mp4": other, f"{long}.json": json.dumps(facts).encode()},
        },
        format=kind,
    )
    rows = read_clips(path.parent, store=tmp_path / "store")
    made = import_manifest(rows).manifest
    assert made["text"].tolist() == ["one", "two é"]
    assert made["fps"].tolist() == [8.0, 8.0]  # the clip's own, not what the object says
    assert made["licence"].tolist() == ["", "CC0"]
    assert [Path(name).read_bytes() for name in made["path"]] == [film, other]


def test_names_are_labels_and_links_are_not_followed(tmp_path: Path, film: bytes) -> None:
    store = tmp_path / "in/store"
    path = tar(
        tmp_path / "a.tar",
        {
            **{"../../up.mp4": film, "../../up.txt": b"up"},
            **{"/abs.mp4": film + b"\0", "/abs.txt": b"abs"},
            **{"l.mp4": special("l.mp4", tarfile.SYMTYPE, "/etc/hostname"), "l.txt": b"link"},
            **{"h.mp4": special("h.mp4", tarfile.LNKTYPE, "/etc/hostname"), "h.txt": b"hard"},
            **{"d.mp4": special("d.mp4", tarfile.CHRTYPE), "d.txt": b"device"},
            **{"f.mp4": special("f.mp4", tarfile.FIFOTYPE), "f.txt": b"pipe"},
            **{"only.txt": b"no video", "q.mp4": film + b"\0\0"},
        },
    )
    kept, lost = taken(path, store)
    assert sorted(kept.values()) == ["abs", "up"]
    assert sorted(lost.values()) == [*["missing"] * 5, "no_caption"]
    assert sum("is no file but a link or a device" in detail for detail in lost) == 4
    assert len(files(tmp_path)) == 2 + 2  # the clips in the store, the archive and the film
    assert {p.parent.parent for p in files(store)} == {store}


def test_a_cut_archive_gives_what_is_before(tmp_path: Path, film: bytes) -> None:
    entries = {"1.mp4": film, "1.txt": b"one", "2.mp4": film + b"\0", "2.txt": b"two"}
    whole = tar(tmp_path / "whole.tar", entries).read_bytes()
    second = whole.index(b"2.mp4")
    for name, cut in (("in_a_file", second + 700), ("in_a_header", second + 100)):
        (tmp_path / f"{name}.tar").write_bytes(whole[:cut])
        kept, lost = taken(tmp_path / f"{name}.tar", tmp_path / "store")
        assert list(kept.values()) == ["one"]
        assert list(lost.values()) == ["corrupt"]
    torn = bytearray(whole)
    torn[second] ^= 1
    (tmp_path / "torn.tar").write_bytes(torn)
    assert "no header of a tar file" in next(iter(taken(tmp_path / "torn.tar", tmp_path / "s")[1]))


@pytest.mark.parametrize("kind", [b"0", b"L", b"x", b"g"])
def test_a_claimed_size_is_no_memory(tmp_path: Path, film: bytes, kind: bytes) -> None:
    header = tarfile.TarInfo("2.mp4")
    header.type, header.size = kind, 1 << 60
    whole = tar(tmp_path / "whole.tar", {"1.mp4": film, "1.txt": b"one"}).read_bytes()
    stop = whole.rindex(b"1.txt") + 1024
    (tmp_path / "a.tar").write_bytes(whole[:stop] + header.tobuf(tarfile.GNU_FORMAT) + b"x" * 512)
    kept, lost = taken(tmp_path / "a.tar", tmp_path / "store")
    assert list(kept.values()) == ["one"]
    assert list(lost.values()) == ["corrupt"]


def test_what_says_nothing_is_a_row(tmp_path: Path, film: bytes) -> None:
    path = tar(
        tmp_path / "a.tar",
        {
            **{"1.mp4": film, "1.txt": b"one", "2.mp4": film, "2.json": b"[" * 200},
            **{"3.mp4": film, "3.txt": b"\xff", "4.mp4": film, "4.txt": b"  "},
            **{"5.mp4": b"no film", "5.txt": b"five"},
        },
    )
    _, lost = taken(path, tmp_path / "store")
    reasons = ["caption_unreadable", "caption_unreadable", "no_caption", "not_a_video"]
    assert sorted(lost.values()) == reasons


def test_an_archive_is_read_once(tmp_path: Path, film: bytes) -> None:
    path = tar(tmp_path / "a.tar", {"1.mp4": film, "1.txt": b"one"})
    first = read_clips(path, store=tmp_path / "store")
    clip = Path(first["path"][0])
    time = clip.stat().st_mtime_ns
    pd.testing.assert_frame_equal(read_clips(path, store=tmp_path / "store"), first)
    assert clip.stat().st_mtime_ns == time
    clip.unlink()  # somebody made room
    pd.testing.assert_frame_equal(read_clips(path, store=tmp_path / "store"), first)
    assert clip.read_bytes() == film
    with pytest.raises(TableError, match=r"lie in other files; name a --store"):
        read_clips(path)


def test_an_archive_without_samples_is_one_sentence(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", {})
    with pytest.raises(TableError, match="no sample in 1 archives"):
        read_clips(tmp_path, store=tmp_path / "store")


def parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    clips = pa.array([row.pop("video") for row in rows], kind)
    pq.write_table(pa.Table.from_pylist(rows).add_column(0, "video", clips), path)
    return path


def test_parquet_with_the_clips_in_it(tmp_path: Path, film: bytes) -> None:
    rows: list[dict[str, object]] = [
        {"video": {"bytes": film, "path": "../x.mp4"}, "caption": ["one", "more"], "fps": 3},
        {"video": {"bytes": None, "path": "../film.mp4"}, "caption": ["two"], "fps": 3},
        {"video": {"bytes": None, "path": "gone.mp4"}, "caption": ["three"], "fps": 3},
        {"video": None, "caption": ["four"], "fps": 3},
        {"video": {"bytes": film, "path": None}, "caption": [], "fps": 3},
    ]
    parquet(tmp_path / "data/train-0.parquet", rows)
    made = import_manifest(read_clips(tmp_path, store=tmp_path / "store"))
    assert made.manifest["text"].tolist() == ["one", "two"]
    assert made.manifest["fps"].tolist() == [8.0, 8.0]
    assert made.rejected["reason"].tolist() == ["missing", "missing", "no_caption"]
    parquet(tmp_path / "b/a.parquet", [{"video": {"bytes": film, "path": ""}, "label": 3}])
    with pytest.raises(TableError, match="no column text or caption or"):
        read_clips(tmp_path / "b", store=tmp_path / "store")


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_what_export_writes_comes_in_again(tmp_path: Path, film: bytes, layout: str) -> None:
    (tmp_path / "film.txt").write_text("a grey film")
    words = ["--rejected", f"{tmp_path}/r.csv", "--funnel", f"{tmp_path}/f.json"]
    first, again = tmp_path / "m.csv", tmp_path / "n.csv"
    assert main(["import-manifest", str(tmp_path), "--manifest", str(first), *words]) == 0
    out = tmp_path / "out"
    assert main(["export", "--manifest", str(first), "--format", layout, "--output", str(out)]) == 0
    take = ["import-manifest", str(out), "--manifest", str(again), *words]
    assert main(take) == EXIT_USER
    assert main([*take, "--store", str(tmp_path / "store")]) == 0
    before, after = read_table(first), read_table(again)
    for name in ("id", "text", "sha256", "num_frames", "fps", "split", "height"):
        assert before[name].tolist() == after[name].tolist(), name
