"""HDR and wide primaries against the formulas computed in floating point, on cards made here."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from opensora.core.io import sha256_file
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.media.decode import iter_frames, iter_thumbnails, read_frames
from opensora.media.hdr import to_bt709
from opensora.media.probe import probe

TILE, WHITE = 32, 203.0
NITS = (0.1, 1, 10, 26, 50, 100, 203, 1000)
COLOURS = [
    *[(v, v, v) for v in (250, 230, 180, 120, 60, 30, 10, 0)],
    *[(200, 50, 20), (220, 170, 110), (190, 130, 70), (50, 90, 170), (110, 160, 60)],
    *[(180, 180, 60), (150, 60, 140), (60, 150, 150)],
]
# from linear RGB of BT.709 to that of BT.2020 (ITU-R BT.2087) and of Display P3 (SMPTE EG 432-1)
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])
WEIGHTS = {9: np.array([0.2627, 0.6780, 0.0593]), 1: np.array([0.2126, 0.7152, 0.0722])}
PQ, HLG, SDR = 16, 18, 14


def light(primaries: np.ndarray) -> np.ndarray:
    """Nits [24, 3] of the squares."""
    greys = np.repeat(np.array(NITS)[:, None], 3, axis=1)
    return np.concatenate([greys, (np.array(COLOURS) / 255) ** 2.4 * WHITE @ primaries.T])


def pq(nits: np.ndarray) -> np.ndarray:
    power = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg(nits: np.ndarray) -> np.ndarray:
    """For a display of 1000 nits."""
    shown = nits / 1000
    luma = np.maximum(shown @ WEIGHTS[9], 1e-9)[:, None]
    scene = shown * luma ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    high = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def sdr(nits: np.ndarray) -> np.ndarray:
    return np.clip(nits / WHITE, 0, 1) ** (1 / 2.4)


def knee(nits: float) -> float:
    """BT.2390 from 1000 to 203 nits, solved for the light by bisection."""
    peak, least = pq(np.array(1000.0)), pq(np.array(WHITE)) / pq(np.array(1000.0))
    e, start = pq(np.array(nits)) / peak, 1.5 * least - 0.5
    if e > start:
        t = (e - start) / (1 - start)
        e = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * (1 - start)
        e += (3 * t**2 - 2 * t**3) * least
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if pq(np.array(middle)) < e * peak else (low, middle)
    return low


def expected() -> np.ndarray:
    """Levels [24, 3] of BT.709 by the documented curve."""
    nits = light(np.eye(3))
    luma = nits @ WEIGHTS[1]  # of the same light: luminance does not depend on primaries
    gain = np.array([knee(y) / y if y else 0.0 for y in luma])
    return 255 * sdr(nits * gain[:, None])


def card(path: Path, signal: np.ndarray, tags: tuple[int, int, int], notes: str = "") -> Path:
    """24 squares in 10 bits, tagged with (matrix, primaries, curve)."""
    weights = WEIGHTS[tags[0]]
    luma = signal @ weights
    blue = (signal[:, 2] - luma) / (2 * (1 - weights[2]))
    red = (signal[:, 0] - luma) / (2 * (1 - weights[0]))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx265", rate=24)
        stream.height, stream.width, stream.pix_fmt = 3 * TILE, 8 * TILE, "yuv420p10le"
        stream.options = {"x265-params": f"lossless=1:log-level=none{notes}"}
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags
        for k in range(12):
            frame = av.VideoFrame(8 * TILE, 3 * TILE, "yuv420p10le")
            parts = ((64 + 876 * luma, TILE), (512 + 896 * blue, 16), (512 + 896 * red, 16))
            for plane, (codes, side) in zip(frame.planes, parts, strict=True):
                squares = np.kron(np.round(codes).reshape(3, 8), np.ones((side, side)))
                rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
                rows[:, : squares.shape[1]] = squares
                plane.update(rows.tobytes())
            frame.colorspace, frame.color_primaries, frame.color_trc = tags
            frame.pts, frame.time_base = k, Fraction(1, 24)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def squares(frame: np.ndarray) -> np.ndarray:
    """Levels [24, 3] in the middle of the squares."""
    side = frame.shape[0] // 3
    return frame[side // 2 :: side, side // 2 :: side].reshape(-1, 3).astype(int)


NOTED = (
    ":hdr10=1:max-cll=1000,400:master-display="
    "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)


@pytest.mark.parametrize(
    ("signal", "tags", "notes"),
    [
        (pq(light(TO_2020)), (9, 9, PQ), ""),
        (pq(light(TO_2020)), (9, 9, PQ), NOTED),
        (pq(light(TO_2020)), (9, 2, PQ), ""),  # primaries unsaid
        (pq(light(TO_P3)), (9, 12, PQ), ""),  # a film's master inside BT.2020
        (pq(light(np.eye(3))), (1, 1, PQ), ""),
        (hlg(light(TO_2020)), (9, 9, HLG), ""),
    ],
    ids=["pq", "pq with notes", "pq without primaries", "pq of P3", "pq of BT.709", "hlg"],
)
def test_greys_and_colours_follow_the_documented_curve(
    tmp_path: Path, signal: np.ndarray, tags: tuple[int, int, int], notes: str
) -> None:
    path = card(tmp_path / "card.mp4", signal, tags, notes)
    assert probe(path).hdr
    seen = squares(next(iter_frames(path)))
    assert np.abs(seen - expected()).max() < 4  # ten bits of chroma are up to three levels
    greys = seen[:8, 0]
    assert (np.diff(greys) > 0).all()
    assert np.abs(greys[[3, 5, 6, 7]] - [108, 189, 231, 255]).max() < 2


@pytest.mark.parametrize(
    ("primaries", "tags"),
    [(TO_2020, (9, 9, SDR)), (TO_2020, (9, 9, 2)), (TO_P3, (1, 12, 1))],
    ids=["BT.2020", "BT.2020 without a curve", "Display P3"],
)
def test_wide_primaries_with_a_curve_of_sdr_become_those_of_bt709(
    tmp_path: Path, primaries: np.ndarray, tags: tuple[int, int, int]
) -> None:
    path = card(tmp_path / "card.mp4", sdr(light(primaries)), tags)
    assert not probe(path).hdr
    levels = 255 * sdr(light(np.eye(3)))
    assert np.abs(squares(next(iter_frames(path))) - levels).max() < 4


def test_sdr_is_left_as_it_is(tmp_path: Path) -> None:
    path = card(tmp_path / "card.mp4", sdr(light(np.eye(3))), (1, 1, 1))
    assert np.abs(squares(next(iter_frames(path))) - 255 * sdr(light(np.eye(3)))).max() < 4


def test_matrices_of_primaries_are_those_of_the_standards() -> None:
    assert np.abs(np.linalg.inv(to_bt709(9)) - TO_2020).max() < 1e-3
    assert np.abs(np.linalg.inv(to_bt709(12)) - TO_P3).max() < 1e-3
    assert np.abs(to_bt709(1) - np.eye(3)).max() < 1e-12


def test_all_ways_to_frames_convert_alike(tmp_path: Path) -> None:
    path = card(tmp_path / "card.mp4", pq(light(TO_2020)), (9, 9, PQ))
    frames = np.stack(list(iter_frames(path)))
    assert len(frames) == 12
    assert np.array_equal(read_frames(path, [5, 11]), frames[[5, 11]])
    small = squares(next(iter_thumbnails(path, 128)))
    assert np.abs(small - squares(frames[0])).max() <= 2


@pytest.mark.parametrize("mode", ["reencode", "copy"])
def test_clips_are_converted_once(tmp_path: Path, mode: str) -> None:
    """A clip of new frames is BT.709; one of copied packets is converted when read."""
    path = card(tmp_path / "card.mp4", hlg(light(TO_2020)), (9, 9, HLG))
    info = probe(path)
    scene = {"id": "v_0000", "video_id": "v", "path": str(path), "kind": "video"}
    scene |= {"sha256": sha256_file(path)}
    scene |= {"start": 0.0, "end": 0.5, "start_frame": 0, "end_frame": 12}
    settings = ClipSettings(min_s=0.25, mode=mode)
    scenes = pd.DataFrame([scene | {"status": "ok", "detail": ""}])
    clips = split_clips(scenes, tmp_path / "clips", settings)
    assert list(clips["status"]) == ["ok"]
    made = clips["path"][0]
    assert probe(made).hdr == (mode == "copy")
    assert info.num_frames == 12
    with av.open(made) as file:
        assert int(next(file.decode(video=0)).color_trc) == (1 if mode == "reencode" else HLG)
    assert np.abs(squares(next(iter_frames(made))) - expected()).max() < 6  # 8 bits, compressed
