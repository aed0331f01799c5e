from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from opensora.report.collect import collect
from opensora.report.gallery import Budget, Chip, cards, montages
from opensora.stores.index import LATENT_COLUMNS, write_index


def test_chips_say_what_was_asked_and_what_was_seen(run_dir):
    stage = collect(run_dir).stages[0]
    card = cards(stage, run_dir, Budget(10**6))[0]
    assert card.chips == (
        Chip("red", "red", True),
        Chip("circle", "square", False),
        Chip("left", "unsure", False),
    )
    assert card.split == "heldout"


def test_beyond_the_budget_samples_are_linked_relative_to_the_page(run_dir):
    stage = collect(run_dir).stages[0]
    size = (stage.samples_dir / "0.mp4").stat().st_size
    first, second = cards(stage, run_dir / "report", Budget(size + 1))
    assert first.url.startswith("data:video/mp4;base64,")
    assert second.url == "../samples/stage1/1.mp4"


def test_a_sample_that_is_gone_has_no_player(run_dir):
    (run_dir / "samples" / "stage1" / "0.mp4").unlink()
    card = cards(collect(run_dir).stages[0], run_dir, Budget(10**6))[0]
    assert (card.url, card.absent) == ("", "file not found")


@pytest.mark.parametrize("way", ["absolute", "parents", "link", "link to itself", "another run"])
def test_a_file_outside_the_run_is_neither_embedded_nor_linked(
    run_dir: Path, tmp_path: Path, way: str
) -> None:
    stage = collect(run_dir).stages[0]
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    other = run_dir.parent / "tiny2" / "other.png"  # its name begins as the run's does
    other.parent.mkdir()
    other.write_bytes(secret.read_bytes())
    inside = stage.samples_dir / "link.png"
    inside.symlink_to(inside if way == "link to itself" else secret)
    names = {
        **{"absolute": str(secret), "parents": "../../../../secret.png", "link": "link.png"},
        **{"link to itself": "link.png", "another run": "../../../tiny2/other.png"},
    }
    object.__setattr__(stage, "samples", stage.samples.assign(path=names[way]))
    for budget in (Budget(10**6), Budget(0)):
        card = cards(stage, run_dir, budget)[0]
        assert (card.url, card.absent) == ("", "not shown: outside the run")
    buckets = {"a": {"montage": names[way]}}
    object.__setattr__(stage, "latents_dir", stage.samples_dir)
    object.__setattr__(stage, "doctor", {"0000": {"buckets": buckets}})
    assert montages(stage, run_dir, Budget(10**6)) == [("a", "")]


def test_names_can_not_become_another_scheme(run_dir):
    stage = collect(run_dir).stages[0]
    table = stage.samples.assign(path=["javascript:alert(1).mp4", "../../../etc/passwd"])
    for name in table["path"][:1]:
        (stage.samples_dir / name).write_bytes(b"x")
    object.__setattr__(stage, "samples", table)
    first, second = cards(stage, stage.samples_dir, Budget(0))
    assert first.url == "javascript%3Aalert%281%29.mp4"
    assert second.url == ""
    assert second.absent == "not shown: outside the run"


def test_each_bucket_shows_one_montage_and_lost_ones_are_left_out(run_dir: Path) -> None:
    latents, store = run_dir / "latents" / "stage1", run_dir.parent / "store" / "latents" / "x"
    (store / "0000of0002").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(store / "0000of0002/a.png")
    for shard in ("0000", "0001"):
        pictures = {"a": "0000of0002/a.png", "b": "0000of0002/lost.png"}
        facts = {"items": 1, "bad_values": 0, "std": [1.0], "psnr": [30.0]}
        buckets = {
            name: facts | {"montage": f"../../../store/latents/x/{picture}"}
            for name, picture in pictures.items()
        }
        write_index(
            *(latents / f"{shard}.parquet", pd.DataFrame(columns=list(LATENT_COLUMNS))),
            columns=LATENT_COLUMNS,
            **{"store": store, "identity": {}, "files": {}},
            gate={"buckets": buckets | {"c": facts}, "warnings": []},
        )
    stage = collect(run_dir).stages[0]
    shown = montages(stage, run_dir, Budget(10_000))
    assert [bucket for bucket, _ in shown] == ["a"]
    assert shown[0][1].startswith("data:image/png;base64,")
    assert montages(stage, run_dir, Budget(0)) == [("a", "../store/latents/x/0000of0002/a.png")]
