import pandas as pd
import pytest
import torch

from opensora.bench import loader
from opensora.cli.main import main
from opensora.core.errors import ConfigError
from opensora.datasets.stored import LatentDataset
from opensora.stores.embeddings import EmbeddingStore


@pytest.fixture(scope="module")
def stores():
    with loader.synthetic_stores(5, 2) as folders:
        yield folders


def test_random_stores_have_the_sizes_of_256x256x16_and_t5_and_go_away_again():
    with loader.synthetic_stores(3, 2) as (latents, embeddings, plan):
        dataset = LatentDataset(latents, embeddings, plan)
        assert len(dataset) == 1  # the third clip fills no batch
        batch = dataset[0]
        assert batch["latents"].shape == (2, 4, 16, 32, 32)
        assert batch["y"].shape == (2, 1, 120, 4096)
        assert (batch["latents"].dtype, batch["y"].dtype) == (torch.bfloat16, torch.bfloat16)
        lengths = EmbeddingStore(embeddings).rows["tokens"]
        assert lengths.between(20, 120).all()
    assert not latents.parent.exists()


def test_the_figures_count_what_the_plan_reads(stores):
    latents, embeddings, plan = stores
    figures = loader.measure_loader(latents, embeddings, plan, rounds=2)
    assert (figures.samples, figures.batches) == (4, 2)
    used = {name for k in range(2) for name in LatentDataset(*stores).plan[k].ids}
    rows = EmbeddingStore(embeddings).rows.set_index("id")
    tokens = int(rows.loc[sorted(used), "tokens"].sum())
    assert figures.sample_bytes == (4 * 4 * 16 * 32 * 32 * 2 + tokens * 4096 * 2) / 4
    assert min(figures.sequential, figures.first_pass, figures.later_passes) > 0
    assert figures.peak_bytes > 0


def test_the_ratio_is_of_later_passes_to_the_plain_read():
    rates = {"sequential": 5.0, "first_pass": 1.0, "later_passes": 3.5}
    figures = loader.LoaderFigures(
        samples=1, batches=1, sample_bytes=1.0, cpu_ms_per_batch=1.0, peak_bytes=1, **rates
    )
    assert figures.ratio == pytest.approx(0.7)
    assert "70%" in figures.table()


def test_a_plain_read_counts_every_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "_READ_BYTES", 300)
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").write_bytes(b"y" * 24)
    assert loader._read_sequentially([tmp_path / "a", tmp_path / "b"]) == 1024


def test_too_few_samples_are_refused():
    with (
        pytest.raises(ConfigError, match="3 samples are no full batch of 4"),
        loader.synthetic_stores(3, 4),
    ):
        pass


def test_the_command_prints_a_table_and_one_line(stores, capsys):
    words = [str(part) for pair in zip(("--latents", "--embeddings", "--plan"), stores, strict=True)
             for part in pair]  # fmt: skip
    assert main(["bench", "loader", *words, "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith("bench: latents and text at ")
    assert "of a plain sequential read (goal: 60%)" in lines[-1]
    assert any(line.startswith("plain sequential read, 1 MiB buffer") for line in lines)
    assert main(["bench", "loader", *words[:4]]) == 2
    assert "--plan together" in capsys.readouterr().err


def test_the_online_loader_is_asked_for_by_a_manifest(monkeypatch, capsys, tmp_path):
    asked = {}

    def run(manifest, **options):
        asked.update(options, manifest=manifest)
        return "ran"

    monkeypatch.setattr("opensora.bench.online_loader.bench_online_loader", run)
    manifest = tmp_path / "manifest.csv"
    pd.DataFrame({"id": []}).to_csv(manifest)
    words = ["--manifest", str(manifest), "--num-frames", "8", "--image-size", "32", "64"]
    assert main(["bench", "loader", *words]) == 0
    assert capsys.readouterr().out == "bench: ran\n"
    assert asked == {
        **{"manifest": str(manifest), "num_clips": 64, "num_frames": 8, "frame_interval": 3},
        **{"image_size": (32, 64), "batch_size": 4},
    }
    assert main(["bench", "loader", *words, "--latents", "x"]) == 2
    assert "--manifest measures the online loader" in capsys.readouterr().err
