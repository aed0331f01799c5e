"""`opensora train --data-path`: from videos and captions, with tiny networks on the CPU."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import main
from opensora.config.load import load_config
from opensora.plans.compile import BatchPlan
from opensora.training import loop
from tests import forked

CONFIGS = Path(__file__).parents[3] / "configs"
CONFIG = """
bucket_config = {"24px": {4: (1.0, 2), 1: (1.0, 1)}}
epochs = 2
seed = 5
model = dict(type="STDiT2", patch_size=(1, 2, 2), hidden_size=24, depth=1, num_heads=2,
             qk_norm=True, pred_sigma=False)
scheduler = dict(type="rflow", sample_method="logit-normal")
optimizer = dict(type="adamw", lr=1e-3)
dtype = "fp32"
log_every = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    return path


def train(config: Path, outputs: Path, *more: str) -> int:
    return main(["train", str(config), "--outputs", str(outputs), *more])


def train_two(config: Path, outputs: Path, *more: str) -> int:
    """The same by two workers."""
    words = ["train", str(config), "--outputs", str(outputs), *more, "--processes", "2"]
    done = forked.run("opensora.cli.main", *words)
    sys.stderr.write(done.stderr)
    return done.returncode


def online(world: Path) -> list[str]:
    words = ["--data-path", f"{world}/manifest.csv", "--vae", f"{world}/vae"]
    return [*words, "--text-encoder", f"{world}/t5", "--text-encoder.model-max-length", "16"]


def lines(outputs: Path) -> list[dict]:
    return [json.loads(line) for line in (outputs / "metrics.jsonl").read_text().splitlines()]


@contextmanager
def stopping_after(steps: int) -> Iterator[None]:
    """Ask runs to stop when they have done this many steps."""
    train_step = loop.train_step

    def step(run, number, position, batch, **keywords):
        return train_step(run, number, position, batch, **keywords | {"stop": number + 1 == steps})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        yield


def stores(world: Path, config: Path, folder: Path) -> list[str]:
    """Fill the stores of the plan; returns the words that name them."""
    data, plan = f"{world}/manifest.csv", f"{folder}/plan.parquet"
    commands = [
        f"assign-buckets {config} --data-path {data} --plan {plan} --items {folder}/items",
        f"encode-videos --items {folder}/items/0000.parquet --vae {world}/vae --dtype fp32"
        f" --store {folder}/store --output {folder}/latents/0000.parquet"
        " --posterior mean --min-psnr 0 --device cpu",
        f"encode-captions --manifest {data} --text-encoder {world}/t5 --dtype fp32"
        f" --store {folder}/texts --output {folder}/embeddings/0000.parquet"
        " --max-length 16 --device cpu",
    ]
    for command in commands:
        assert main(command.split()) == 0, command
    words = ["--dataset.latents", f"{folder}/latents", "--dataset.plan", plan]
    return [*words, "--dataset.embeddings", f"{folder}/embeddings"]


def test_training_from_videos_and_from_stores_give_the_same_losses(video_world, config, tmp_path):
    assert train(config, tmp_path / "stored", *stores(video_world, config, tmp_path)) == 0
    words = [*online(video_world), "--posterior", "mean"]
    assert train(config, tmp_path / "online", *words) == 0
    stored, direct = lines(tmp_path / "stored"), lines(tmp_path / "online")
    assert len(stored) == 8  # two batches of two clips and two images, twice
    assert [line["bucket"] for line in stored] == [line["bucket"] for line in direct]
    for name in ("loss", "grad_norm"):
        expected = [line[name] for line in stored]
        assert [line[name] for line in direct] == pytest.approx(expected, abs=1e-4)
    assert len({round(line["loss"], 4) for line in stored}) > 4  # and they are not all alike


def test_a_run_online_keeps_its_plan_and_the_identity_of_its_encoders(
    video_world, config, tmp_path, capsys
):
    out = tmp_path / "out"
    assert train(config, out, *online(video_world), "--num-steps", "2", "--num-workers", "0") == 0
    assert "2 steps, loss" in capsys.readouterr().out
    assert len(BatchPlan(out / "state/plan.parquet")) == 4  # the epoch that two steps need
    saved = load_config(out / "config.py")
    assert saved.encoders.vae.type == "VideoAutoencoderKL"
    assert len(saved.encoders.vae.weights) == len(saved.encoders.text_encoder.weights) == 64
    assert saved.encoders.text_encoder.model_max_length == 16
    assert saved.model.caption_channels == 16
    assert saved.dataset.type == "VariableVideoTextDataset"


@pytest.mark.slow
def test_two_that_share_videos_see_what_one_sees(video_world, config, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [*online(video_world), "--num-steps", "4"]
    assert train(config, tmp_path / "one", *words) == 0
    assert train_two(config, tmp_path / "two", *words, "--sp-size", "2") == 0
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [line["bucket"] for line in two] == [line["bucket"] for line in one]
    for name in ("loss", "grad_norm"):
        expected = [line[name] for line in one]
        assert [line[name] for line in two] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("workers", ["0", "3"])
def test_a_stopped_run_goes_on_bit_for_bit(video_world, config, tmp_path, workers):
    words = [*online(video_world), "--num-workers", workers]
    assert train(config, tmp_path / "straight", *words) == 0
    with stopping_after(3):
        assert train(config, tmp_path / "halves", *words) == 75
    assert train(config, tmp_path / "halves", *words) == 0
    for name in ("model.safetensors", "ema.safetensors"):
        one, other = (tmp_path / run / name for run in ("straight", "halves"))
        assert one.read_bytes() == other.read_bytes()


def test_the_demo_trains_online_with_a_config_of_its_own(video_world, tmp_path, capsys):
    demo = CONFIGS / "demo/train/online.py"
    words = ["--num-steps", "2", "--model.depth", "1"]
    words += ["--bucket-config", "{'24px': {4: (1.0, 2), 1: (1.0, 2)}}"]
    assert train(demo, tmp_path / "out", *online(video_world), *words) == 0
    assert "2 steps, loss" in capsys.readouterr().out
    shipped = load_config(demo, kind="train")
    stage1 = load_config(CONFIGS / "demo/train/stage1.py", kind="train")
    own = ("dataset", "vae", "text_encoder", "posterior", "num_workers", "outputs", "eval_every")
    one, other = (
        {k: v for k, v in config.to_dict().items() if k not in own} for config in (shipped, stage1)
    )
    assert one == other
    assert shipped.dataset.data_path == "results/demo/manifest"


def test_models_of_given_frames_are_refused_before_encoders_are_loaded(
    video_world, tmp_path, capsys
):
    architecture = {"_class_name": "WanTransformer3DModel", "num_attention_heads": 2}
    architecture |= {"attention_head_dim": 12, "freq_dim": 16, "ffn_dim": 32, "num_layers": 1}
    architecture |= {"text_dim": 16, "in_channels": 12, "out_channels": 4}
    config = tmp_path / "config.py"
    own = "model = " + repr({"type": "diffusers", "architecture": architecture})
    config.write_text(f"{CONFIG}{own}\n")
    words = ["--data-path", f"{video_world}/manifest.csv", "--vae", "none/there"]
    assert train(config, tmp_path / "out", *words, "--text-encoder", "none/there") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "which training from videos does not encode; store them with encode-videos" in line
    assert "--given first or first_last (encode.given of a workflow, without online)" in line


def grown(world: Path, folder: Path, count: int) -> list[str]:
    """Words for training on the first `count` rows of the manifest and on the images."""
    manifest = pd.read_csv(world / "manifest.csv")
    manifest[(manifest.index < count) | (manifest["num_frames"] == 1)].to_csv(
        folder / "manifest.csv", index=False
    )
    return [*online(world), "--data-path", str(folder / "manifest.csv")]


def test_videos_added_during_a_run_are_trained_from_the_next_epoch_on(
    video_world, config, tmp_path
):
    with stopping_after(1):
        assert train(config, tmp_path / "out", *grown(video_world, tmp_path, 2)) == 75
    assert train(config, tmp_path / "out", *grown(video_world, tmp_path, 4)) == 0
    plan = BatchPlan(tmp_path / "out/state/plan.parquet")
    ids = {epoch: set() for epoch in range(2)}
    for position in range(len(plan)):
        ids[plan[position].epoch] |= set(plan[position].ids)
    assert ids[0] == {"clip0", "clip1", "clip4", "clip5"}
    assert ids[1] == {f"clip{k}" for k in range(6)}
    assert len(lines(tmp_path / "out")) == 3 + 4


def test_videos_taken_away_during_a_run_stop_it_with_the_choices(
    video_world, config, tmp_path, capsys
):
    with stopping_after(1):
        assert train(config, tmp_path / "out", *grown(video_world, tmp_path, 4)) == 75
    assert train(config, tmp_path / "out", *grown(video_world, tmp_path, 2)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "which lacks 2 of its clips (first 'clip2'); choose:" in error
    # one of the choices, with the videos back
    words = ["--dataset.plan", f"{tmp_path}/out/state/plan.parquet"]
    assert train(config, tmp_path / "out", *grown(video_world, tmp_path, 4), *words) == 0


def test_a_stage_from_stores_goes_on_online_but_not_with_another_vae(
    video_world, config, tmp_path, capsys
):
    assert train(config, tmp_path / "one", *stores(video_world, config, tmp_path)) == 0
    words = [*online(video_world), "--num-steps", "1", "--load", str(tmp_path / "one")]
    assert train(config, tmp_path / "two", *words) == 0
    saved = tmp_path / "one/config.py"
    weights = load_config(saved).encoders.vae.weights
    _, _, fields = saved.read_text().partition("\n")  # the first line says that nobody changed it
    saved.write_text(fields.replace(weights, "0" * 64))
    assert train(config, tmp_path / "three", *words) == 2
    assert "trained with vae" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_online(video_world, config, tmp_path):
    words = [*online(video_world), "--num-steps", "2"]
    assert train_two(config, tmp_path / "out", *words) == 0
    plan = BatchPlan(tmp_path / "out/state/plan.parquet")
    assert plan.metadata["world_size"] == 2
    assert len(lines(tmp_path / "out")) == 2


WRONG = {
    "no videos": (["--data-path", "/nowhere.csv"], "dataset.data_path /nowhere.csv: no such file"),
    "a wrong VAE folder": (["--vae", "/nowhere"], "neither a folder on this disk nor"),
    "a folder of another model": (["--vae", "{world}/t5"], "t5"),
    "a wrong text encoder": (["--text-encoder", "{world}/vae"], "vae"),
    "another width": (["--model.caption-channels", "7"], "model.caption_channels is 7 and the"),
    "no batch": (["--bucket_config.24px.4", "(1.0, 64)", "--bucket_config.24px.1", "(0, None)"],
                 "no full batch"),
    "half precision": (["--dtype", "fp16"], "dtype is 'fp16' and this run is on the CPU"),
    "a plugin": (["--plugin", "zero2"], "plugin 'zero2' needs a GPU"),
    "sequence parallelism": (["--sp-size", "2"], "and 1 can not be parted into such groups"),
    "a wrong posterior": (["--posterior", "moments"], "expected 'sample' or 'mean'"),
    "a wrong transform": (["--dataset.transform-name", "fill"], "unknown transform 'fill'"),
    "a typo": (["--dataset.transfrom-name", "center"], "did you mean 'transform_name'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_the_user_can_mend_is_one_line_and_code_2(video_world, config, tmp_path, capsys, case):
    words, message = WRONG[case]
    words = [word.format(world=video_world) if "{world}" in word else word for word in words]
    assert train(config, tmp_path / "out", *online(video_world), *words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("opensora train: ")
    assert message in error


@pytest.fixture
def damaged(video_world, tmp_path) -> list[str]:
    """Words for training on the world with a clip that is cut off and one that is gone."""
    cut = tmp_path / "cut.mp4"
    data = (video_world / "clip2.mp4").read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    manifest = pd.read_csv(video_world / "manifest.csv").set_index("id")
    manifest.loc["clip2", "path"] = str(cut)
    manifest.loc["clip4", "path"] = str(tmp_path / "gone.mp4")
    manifest.reset_index().to_csv(tmp_path / "manifest.csv", index=False)
    return [*online(video_world), "--data-path", str(tmp_path / "manifest.csv")]


def losses(outputs: Path) -> list[float]:
    return [line["loss"] for line in lines(outputs)]


def test_unreadable_clips_are_listed_and_others_take_their_place(damaged, config, tmp_path, capsys):
    words = [*damaged, "--max-rejected", "0.5"]
    out = tmp_path / "straight"
    assert train(config, out, *words) == 0
    log = capsys.readouterr().err
    assert log.count("clip_rejected id=clip2") == log.count("clip_rejected id=clip4") == 1
    table = pd.read_csv(out / "rejected.csv")
    assert table["id"].tolist() == ["clip2", "clip4"]
    assert set(table["stage"]) == {"train"}
    assert table["reason"].tolist()[1] == "missing"
    assert table["path"].tolist() == [str(tmp_path / "cut.mp4"), str(tmp_path / "gone.mp4")]
    assert len(losses(out)) == 8
    # stopped and gone on with, it is the same run
    with stopping_after(3):
        assert train(config, tmp_path / "halves", *words, "--num-workers", "2") == 75
    assert (tmp_path / "halves/state/rejected.csv").is_file()
    assert train(config, tmp_path / "halves", *words) == 0
    assert losses(tmp_path / "halves") == losses(out)
    halves = tmp_path / "halves/rejected.csv"
    assert halves.read_bytes() == (out / "rejected.csv").read_bytes()


@pytest.mark.slow
def test_two_processes_meet_the_same_clips(damaged, config, tmp_path):
    words = [*damaged, "--max-rejected", "0.5", "--num-workers", "0"]
    assert train(config, tmp_path / "one", *words, "--processes", "1") == 0
    assert train_two(config, tmp_path / "two", *words) == 0
    tables = [(tmp_path / name / "rejected.csv").read_bytes() for name in ("one", "two")]
    assert tables[0] == tables[1]
    assert len(lines(tmp_path / "two")) == 4
    # two processes that go on after their second step do the same
    assert train_two(config, tmp_path / "halves", *words, "--num-steps", "2") == 0
    assert train_two(config, tmp_path / "halves", *words) == 0
    assert losses(tmp_path / "halves") == losses(tmp_path / "two")
    assert (tmp_path / "halves/rejected.csv").read_bytes() == tables[0]


def test_too_many_unreadable_clips_end_the_run_with_reasons(damaged, config, tmp_path, capsys):
    assert train(config, tmp_path / "out", *damaged) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 of the 6 clips of the plan, 16.7 %, can not be trained" in error
    assert "raise max_rejected, which is 0.01" in error
    assert not (tmp_path / "out/model.safetensors").exists()


@pytest.mark.slow
def test_a_video_that_vanished_ends_all_processes(damaged, config, tmp_path, capfd):
    assert train_two(config, tmp_path / "out", *damaged) == 2
    error = capfd.readouterr().err
    assert "raise max_rejected" in error
    assert "Traceback" not in error


def test_a_manifest_that_lacks_a_column_is_refused(video_world, config, tmp_path, capsys):
    manifest = pd.read_csv(video_world / "manifest.csv").drop(columns="height")
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    words = [*online(video_world), "--data-path", str(tmp_path / "manifest.csv")]
    assert train(config, tmp_path / "out", *words) == 2
    assert "column 'height' is missing" in capsys.readouterr().err


def test_class_numbers_are_no_captions(video_world, config, tmp_path, capsys):
    config.write_text(CONFIG + 'text_encoder = dict(type="classes", num_classes=9)')
    assert train(config, tmp_path / "out", *online(video_world)[:4]) == 2
    assert "or train from stores that" in capsys.readouterr().err


def test_neither_stores_nor_videos_and_videos_without_encoders_are_refused(
    video_world, config, tmp_path, capsys
):
    assert train(config, tmp_path / "out") == 2
    assert "--data-path MANIFEST to train from the videos" in capsys.readouterr().err
    assert train(config, tmp_path / "out", *online(video_world)[:2]) == 2
    assert "vae.from_pretrained is not set" in capsys.readouterr().err
