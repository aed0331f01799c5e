"""Encoding, online training, references, evaluation and encoders see equal pixels of a clip."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from opensora.buckets.bucket import assign_buckets
from opensora.datasets.online import VariableVideoTextDataset
from opensora.encoders.data import fill, read_spread
from opensora.evaluation import real_clips
from opensora.media.encode import write_video
from opensora.media.frames import read_clip
from opensora.plans.compile import compile_plan, write_plan
from opensora.sampling.references import encode_reference, find_references

NUM_FRAMES, SIZE = 4, (72, 128)


class Identity:
    """Stands for an autoencoder."""

    def encode(self, x, *, posterior):
        return x


def film(height: int, width: int) -> np.ndarray:
    """Fine lines that turn into nonsense unless a resampler averages over them."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([127 + 127 * np.sin(rows * k + columns) for k in (0.5, 1, 2)], axis=-1)
    return np.stack([np.roll(waves, 3 * t, axis=1) for t in range(NUM_FRAMES)]).astype(np.uint8)


def write_anamorphic(path: Path, frames: np.ndarray) -> None:
    """Store at three quarters of the width, to be shown at the whole."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 216, 288, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in frames:
            small = cv2.resize(frame, (288, 216), interpolation=cv2.INTER_AREA)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        file.mux(stream.encode())


def online(path: Path, folder: Path, num_frames: int) -> torch.Tensor:
    facts = {"num_frames": num_frames, "height": SIZE[0], "width": SIZE[1], "fps": 8.0}
    facts |= {"aspect_ratio": SIZE[0] / SIZE[1], "resolution": SIZE[0] * SIZE[1], "text_len": 1}
    manifest = pd.DataFrame([{"id": "a", "path": str(path), "text": "lines", **facts}])
    manifest.to_csv(folder / "manifest.csv", index=False)
    buckets = {"72x128": {num_frames: (1.0, 1)}}
    placed = assign_buckets(manifest, buckets, seed=1)
    write_plan(compile_plan([placed], buckets, seed=1, epochs=1), folder / "plan.parquet")
    dataset = VariableVideoTextDataset(folder / "manifest.csv", folder / "plan.parquet")
    return dataset[0]["video"][0]


@pytest.mark.parametrize("kind", ["square.mp4", "anamorphic.mkv", "still.png"])
def test_five_paths_give_equal_floats(tmp_path: Path, kind: str) -> None:
    path, frames = tmp_path / kind, film(216, 384)
    if kind == "still.png":
        Image.fromarray(frames[0]).save(path)
    elif kind == "square.mp4":
        write_video(path, frames, 8)
    else:
        write_anamorphic(path, frames)
    num_frames = 1 if kind == "still.png" else NUM_FRAMES
    encoded = read_clip(path, num_frames, SIZE, 1)
    assert encoded.shape == (3, num_frames, *SIZE)
    assert torch.equal(online(path, tmp_path, num_frames), encoded)
    reference = find_references([str(path)], tmp_path)[0]
    kept = encode_reference(reference, Identity(), SIZE, torch.device("cpu"))
    assert torch.equal(kept, encoded)
    view = real_clips.View(num_frames, *SIZE, 8.0)
    judged = {"path": path, "sha256": "", real_clips.INTERVAL: 1}
    assert torch.equal(real_clips.read_clip(judged, view), encoded)
    row = pd.Series({"id": "a", "path": str(path), "num_frames": num_frames})
    pictures = read_spread(row, num_frames)
    assert pictures is not None
    levels = fill(pictures, SIZE).transpose(0, 1)
    assert torch.equal(levels * (1 / 127.5) - 1, encoded)
    # what is averaged is smooth: the finest lines are gone, their mean is left
    assert float(encoded[2].std()) < 0.75
