"""A tiny Wan trained on real footage by the whole workflow, and taken away to diffusers.

Adapters and whole weights load in WanPipeline, which draws the samples of the run from their noise;
and a workflow that is killed while it trains ends with the same bytes. 15 minutes on two cores
that other work kept busy.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import diffusers
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from opensora.media.encode import write_video
from tests import forked, tiny_open

from .smallest import ROOT, hashes

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
KINDS = ("lora", "full")
PIECES, SECONDS = 3, 2.0  # of each video
EVERY, STEPS = 4, 12
FRAMES, SIDE, LENGTH, SHIFT, SAMPLING_STEPS, GUIDANCE = 9, 32, 32, 3.0, 4, 5.0
PROMPTS = ("a street with cars", "a rabbit in the grass")
WORKFLOW = """
run: {kind}
num_shards: 1
videos: ["{home}/clips"]
captions: {{captioner: sidecar}}
scenes: {{detector: none}}
clips: {{min_s: 1.0, max_s: 2.0, fps: 8, short_side: 32}}
scorers: [technical]
validation_fraction: 0
models:
  vae: {{from_pretrained: "{home}/wan"}}
  text_encoder: {{type: umt5, from_pretrained: "{home}/wan"}}
encode: {{dtype: fp32, posterior: mean, min_psnr: 0, max_length: {length}}}
stages:
  - {{name: wan, config: "{home}/{kind}.py"}}
sample: {{config: "{home}/sample.py", prompts: "{home}/prompts.txt", num_samples: 1}}
"""
TRAIN = """
_base_ = ["{root}/configs/wan/train/t2v_1_3b_{kind}.py"]

bucket_config = dict(_delete_=True, **{{"{side}x{side}": {{{frames}: (1.0, 2)}}}})
fps = 8
model = dict(from_pretrained="{home}/wan")
vae = dict(from_pretrained="{home}/wan")
text_encoder = dict(from_pretrained="{home}/wan", model_max_length={length})
scheduler = dict(shift={shift})
dtype = "fp32"
plugin = "ddp"
accumulate = 1
lr = {lr}
warmup_steps = 0
num_steps = {steps}
epochs = 20
ckpt_every = {every}
log_every = 1
"""
SAMPLE = """
_base_ = ["{root}/configs/wan/inference/t2v_1_3b.py"]

num_frames = {frames}
fps = 8
image_size = ({side}, {side})
model = dict(from_pretrained="{home}/wan")
vae = dict(from_pretrained="{home}/wan")
text_encoder = dict(from_pretrained="{home}/wan", model_max_length={length})
scheduler = dict(shift={shift}, num_sampling_steps={sampling}, cfg_scale={guidance})
dtype = "fp32"
"""


def footage() -> list[Path]:
    folder = Path(os.environ.get("OPENSORA_TEST_VIDEOS", ROOT / "../shared/data/videos"))
    found = sorted(p for p in folder.glob("*") if p.suffix in {".mp4", ".mkv"})
    if not found:
        pytest.skip(f"{folder} has no videos; OPENSORA_TEST_VIDEOS names the folder of real clips")
    return found


def seconds_of(video: Path) -> float:
    with av.open(str(video)) as container:
        assert container.duration is not None
        return container.duration / av.time_base


def cut(folder: Path) -> int:
    """Cut pieces of all videos, each with a caption beside it; returns how many."""
    folder.mkdir()
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    number = 0
    for video in footage():
        length = seconds_of(video)
        for piece in range(PIECES):
            start = piece * length / PIECES
            target = folder / f"{video.stem}_{piece}.mp4"
            words = [ffmpeg, "-loglevel", "error", "-ss", f"{start:.2f}", "-i", str(video)]
            words += ["-t", str(SECONDS + 0.3), "-an", "-vf", "scale=96:96", "-r", "24"]
            subprocess.run([*words, str(target)], check=True)
            target.with_suffix(".txt").write_text(f"piece {piece} of {video.stem}\n")
            number += 1
    return number


def snakemake(folder: Path, kind: str, *words: str, step_s: float = 0.0) -> Any:
    """Start a run of the workflow in a process group of its own."""
    path = os.pathsep.join([str(Path(__file__).parent / "slowly"), str(ROOT)])
    slow = {"SLOW_STEP_S": str(step_s), "SLOW_WRITE_S": "0.01"} if step_s else {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **slow}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *words]
    command += ["--profile", str(ROOT / "profiles/test"), "--directory", str(folder)]
    command += ["--cores", "1", "--configfile", str(folder / f"{kind}.yaml")]
    log = (folder / "said.txt").open("ab")
    return subprocess.Popen(
        command, stdout=log, stderr=log, env=environment, start_new_session=True
    )


def finish(folder: Path, kind: str, target: str) -> None:
    assert snakemake(folder, kind, target).wait(timeout=1500) == 0, (
        folder / "said.txt"
    ).read_text()[-4000:]


@pytest.fixture(name="precomputed", scope="module")
def _precomputed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, encoders, configs, and all that both runs need before they train."""
    folder = tmp_path_factory.mktemp("real")
    assert cut(folder / "clips") >= 10
    tiny_open.wan(folder / "wan", shift=SHIFT)
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    sizes = {
        "root": ROOT,
        "home": folder,
        "frames": FRAMES,
        "side": SIDE,
        "length": LENGTH,
        "shift": SHIFT,
    }
    sampling = {"sampling": SAMPLING_STEPS, "guidance": GUIDANCE}
    (folder / "sample.py").write_text(SAMPLE.format(**sizes, **sampling))
    for kind in KINDS:
        steps = {"steps": STEPS, "every": EVERY, "lr": 0.05 if kind == "lora" else 0.01}
        (folder / f"{kind}.py").write_text(TRAIN.format(kind=kind, **sizes, **steps))
        (folder / f"{kind}.yaml").write_text(WORKFLOW.format(kind=kind, home=folder, length=LENGTH))
        finish(folder, kind, "precompute_all")
    return folder


@pytest.fixture(name="straight", scope="module")
def _straight(precomputed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs to their samples, undisturbed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    shutil.copytree(precomputed, folder)
    for kind in KINDS:
        finish(folder, kind, "sample_all")
    return folder


@pytest.fixture(name="clean")
def _clean() -> Iterator[list[Any]]:
    """Processes that a failed test leaves are killed."""
    processes: list[Any] = []
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def made(folder: Path, kind: str) -> dict[str, str]:
    found = hashes(
        folder / f"results/{kind}", *("train/*/*.safetensors", "samples/**/*.mp4", "buckets/**/*")
    )
    assert {name.split("/")[0] for name in found} >= {"train", "samples", "buckets"}
    return found


def frames_of(path: Path) -> np.ndarray:
    """[T, H, W, 3] uint8."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def drawn_by(pipeline: Any, prompt: str, noise_seed: int, file: Path) -> np.ndarray:
    """What diffusers makes of a prompt from the noise of one of our samples, written as that is."""
    generator = torch.Generator().manual_seed(noise_seed)
    size = tiny_open.CHANNELS, 1 + (FRAMES - 1) // 4, SIDE // 8, SIDE // 8
    frames = pipeline(
        prompt,
        **{"height": SIDE, "width": SIDE, "num_frames": FRAMES, "max_sequence_length": LENGTH},
        **{"num_inference_steps": SAMPLING_STEPS, "guidance_scale": GUIDANCE},
        latents=torch.randn(size, generator=generator)[None],
        output_type="np",
    ).frames[0]
    write_video(file, np.rint(frames * 255).astype(np.uint8), 8)
    return frames_of(file).astype(float)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pipeline_draws_the_samples_of_the_report(kind, straight, tmp_path):
    folder, outputs = straight / "wan", straight / f"results/{kind}/train/wan"
    words = [] if kind == "lora" else ["--pipeline", str(folder)]
    taken = tmp_path / "taken"
    done = forked.run(
        "opensora.cli.main", "export-weights", str(outputs), "--output", str(taken), *words
    )
    assert done.returncode == 0, done.stderr
    base = diffusers.WanPipeline.from_pretrained(folder)
    if kind == "lora":
        pipeline = diffusers.WanPipeline.from_pretrained(folder)
        pipeline.load_lora_weights(taken)
    else:
        pipeline = diffusers.WanPipeline.from_pretrained(taken)
    records = [
        json.loads(p.read_text()) for p in (straight / f"results/{kind}/samples").rglob("*.json")
    ]
    records = [record for record in records if "noise_seed" in record]
    assert {record["prompt"] for record in records} == set(PROMPTS)
    for record in records:
        (video,) = (straight / f"results/{kind}/samples").rglob(record["path"])
        shown = frames_of(video).astype(float)
        expected, untrained = (
            drawn_by(network, record["clean_prompts"][0], record["noise_seed"], tmp_path / name)
            for name, network in (("trained.mp4", pipeline), ("base.mp4", base))
        )
        assert shown.shape == expected.shape == (FRAMES, SIDE, SIDE, 3)
        far = np.abs(shown - expected).mean()
        assert far < 0.5, far  # of 255
        assert np.abs(untrained - expected).mean() > 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_workflow_killed_while_it_trains_ends_with_the_same_bytes(
    kind, precomputed, straight, tmp_path, clean
):
    folder = tmp_path / "run"
    shutil.copytree(precomputed, folder)
    process = snakemake(folder, kind, "sample_all", step_s=0.3)
    clean.append(process)
    lines = folder / f"results/{kind}/train/wan/state/metrics.jsonl"
    deadline = time.monotonic() + 900
    while not lines.is_file() or len(lines.read_text().splitlines()) < EVERY + 2:
        assert process.poll() is None, (folder / "said.txt").read_text()[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / f"results/{kind}/train/wan/ema.safetensors").exists()
    assert list(lines.parent.glob("step_*/run.json"))
    assert snakemake(folder, kind, "--unlock").wait(timeout=300) == 0
    finish(folder, kind, "sample_all")
    assert made(folder, kind) == made(straight, kind)
