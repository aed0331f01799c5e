"""Files that a curation pipeline must survive: damaged ones and exact copies, on purpose."""

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd

from opensora.demo.render import render_film
from opensora.demo.world import Film, plan_film
from opensora.media.encode import write_video

NUM_COPIES = 2  # of films, and as many of stills
_KEPT = 0.6  # part of the truncated file that is left
_SAMPLE_RATE = 16_000


def write_trouble(
    folder: Path, films: list[Film], stills: list[Film], seed: int
) -> tuple[list[Film], pd.DataFrame]:
    """Write videos/trouble.

    Args:
        folder: the world's folder; films and stills are already in it.
        films: the films, the first of which are copied.
        stills: the stills, the first of which are copied.
        seed: of the world.

    Returns:
        The copies as films under their new names, and a table of path and reason: a
        `VideoError` reason, or "duplicate".
    """
    trouble = folder / "videos" / "trouble"
    (trouble / "empty.mp4").touch()
    (trouble / "text.mp4").write_text("this is a text file with a video's name\n" * 8)
    _write_truncated(trouble / "truncated.mp4", seed)
    _write_tone(trouble / "audio_only.mp4")
    copies = []
    for film in films[:NUM_COPIES] + stills[:NUM_COPIES]:
        copy = replace(film, path=f"videos/trouble/copy_of_{Path(film.path).name}")
        shutil.copyfile(folder / film.path, folder / copy.path)
        copies.append(copy)
    reasons = {
        "videos/trouble/audio_only.mp4": "no_video_stream",
        **{copy.path: "duplicate" for copy in copies},
        "videos/trouble/empty.mp4": "empty_file",
        "videos/trouble/text.mp4": "not_a_video",
        "videos/trouble/truncated.mp4": "corrupt",
    }
    return copies, pd.DataFrame({"path": list(reasons), "reason": list(reasons.values())})


def _write_truncated(path: Path, seed: int) -> None:
    """A film of its own whose download broke off."""
    film = plan_film(seed, -1, 1, path=path.name)
    write_video(path, render_film(film), film.fps)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * _KEPT)])


def _write_tone(path: Path) -> None:
    """One second of a quiet 440 Hz tone."""
    times = np.arange(_SAMPLE_RATE) / _SAMPLE_RATE
    tone = (0.1 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)[None]  # [1, samples]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=_SAMPLE_RATE, layout="mono")
        for start in range(0, _SAMPLE_RATE, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(tone[:, start : start + 1024]), format="fltp", layout="mono"
            )
            frame.sample_rate = _SAMPLE_RATE
            frame.pts, frame.time_base = start, Fraction(1, _SAMPLE_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
