"""A tiny world: eight rendered clips whose truth is known, used as samples and as real clips."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.demo.make import make_demo
from opensora.media.decode import read_frames
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST, SAMPLES
from opensora.tables.io import read_table, write_table


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `world/truth/*.csv`, `samples/samples.csv` and `manifest.csv`."""
    root = tmp_path_factory.mktemp("evaluation")
    make_demo(root / "world", num_videos=2, num_images=0, scenes_per_video=4, seed=3, workers=1)
    scenes = read_table(root / "world" / "truth" / "scenes.csv")
    scenes = scenes[scenes["path"].str.startswith("videos/films/")].reset_index(drop=True)
    samples, clips, prompts = [], [], []
    for k, scene in scenes.iterrows():
        source = root / "world" / scene["path"]
        frames = read_frames(source, range(scene["start_frame"], scene["end_frame"]))[::3][:16]
        clip = root / "samples" / f"{k}.mp4"
        write_video(clip, frames, 8)
        height, width = frames.shape[1:3]
        size = {"num_frames": len(frames), "height": height, "width": width, "fps": 8.0}
        prompt = f"prompt {k}"
        samples.append({"id": f"s{k}", "path": clip.name, "prompt": prompt, "seed": k, **size})
        names = ("colour", "shape", "direction")
        split = "heldout" if k % 2 else "seen"
        prompts.append({"prompt": prompt, "split": split, **{n: scene[n] for n in names}})
        span = {"source": str(source), "start": scene["start"], "end": scene["end"]}
        split = "validation" if k < 2 else "train"
        row = {"id": f"c{k}", "path": str(clip), "text": prompt, "split": split, **size, **span}
        clips.append({**row, "aspect_ratio": 1.0, "resolution": 1, "text_len": 2, "sha256": ""})
    write_table(pd.DataFrame(samples), root / "samples" / "samples.csv", SAMPLES)
    write_table(pd.DataFrame(clips), root / "manifest.csv", MANIFEST)
    write_table(pd.DataFrame(prompts), root / "world" / "truth" / "prompts.csv")
    return root
