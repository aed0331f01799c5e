"""Videos that several test files of curation read."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.encode import write_video


@pytest.fixture(scope="session")
def uneven_video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """A video whose first 24 frames last 1/24 s each and the other 24 a quarter of a second.

    Frame k shows k as six black or white stripes; the last 24 on a grey ground, so that a cut
    stands at frame 24. With the time in seconds at which each frame appears.
    """
    path = tmp_path_factory.mktemp("uneven") / "uneven.mkv"
    times = [k / 24 for k in range(24)] + [1 + k / 4 for k in range(24)]
    bits = (np.arange(48)[:, None] >> np.arange(6)) & 1  # [T, 6]
    frames = np.zeros((48, 64, 64, 3), np.uint8)
    frames[24:] = (40, 90, 200)
    frames[:24] = (200, 60, 40)
    frames[:, 40:, :48] = 255 * np.repeat(bits, 8, axis=1)[:, None, :, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "4"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, seconds in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(1000 * seconds), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path, times


@pytest.fixture
def ramp(tmp_path: Path) -> pd.DataFrame:
    """SCENES of one 8-fps video that shows each frame's number as six black or white stripes.

    The scenes are [0, 20), [20, 48), [48, 52).
    """
    bits = (np.arange(52)[:, None] >> np.arange(6)) & 1  # [T, 6]
    stripes = np.repeat(bits, 8, axis=1)[:, None, :, None]  # [T, 1, 48, 1]
    frames = np.broadcast_to(np.uint8(255) * stripes.astype(np.uint8), (52, 24, 48, 3))
    frames = np.pad(frames, ((0, 0), (0, 0), (0, 1), (0, 0)))  # an odd width
    (tmp_path / "raw").mkdir()
    write_video(tmp_path / "raw" / "ramp.mp4", frames, 8, crf=0)
    settings = SceneSettings(threshold=255.0, transitions="off")
    scene = detect_scenes(ingest_videos([tmp_path / "raw"]), settings)
    scenes = pd.concat([scene] * 3, ignore_index=True)
    scenes["id"] = [f"{scene['video_id'].iloc[0]}_{k:04d}" for k in range(3)]
    scenes["start_frame"], scenes["end_frame"] = [0, 20, 48], [20, 48, 52]
    scenes["start"], scenes["end"] = scenes["start_frame"] / 8, scenes["end_frame"] / 8
    return scenes
