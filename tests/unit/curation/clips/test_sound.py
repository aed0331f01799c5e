"""Sound of clips: what is seen and heard at once in the video is so in its clips."""

import subprocess
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from opensora.core.errors import ConfigError, VideoError
from opensora.core.io import sha256_file
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.sound import RATE, Sounds
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.decode import read_frames
from opensora.media.encode import ffmpeg_executable
from opensora.media.probe import probe
from opensora.media.timeline import timeline

FPS, SECONDS = 10, 12
# a flash and a beep of 0.1 s, at 0.5 s, 1.5 s and so on
FLASH = "color=black:s=96x64:r={fps}:d={s},drawbox=color=white:t=fill:enable='eq(mod(n\\,10)\\,5)'"
BEEP = "aevalsrc='0.8*sin(2*PI*1000*t)*between(mod(t\\,1)\\,0.5\\,0.6)':s={rate}:d={s}"
X264 = ("-c:v", "libx264", "-g", "10", "-bf", "2", "-sc_threshold", "0", "-crf", "4")
KEEP = ClipSettings(min_s=1.0, max_s=2.0, audio="keep")
KEEP_COPY = ClipSettings(min_s=1.0, max_s=2.0, mode="copy", audio="keep")


def ffmpeg(*arguments: str | Path) -> None:
    command = [ffmpeg_executable(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


def source(folder: Path, name: str, *sound: str, rate: int = 44_100) -> Path:
    """A video that beeps while it flashes."""
    path = folder / name
    video = FLASH.format(fps=FPS, s=SECONDS)
    beep = BEEP.format(rate=rate, s=SECONDS)
    given = ("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", beep)
    ffmpeg(*given, *X264, *sound, "-shortest", path)
    return path


def scenes_of(path: Path, *edges: float) -> pd.DataFrame:
    """SCENES of a video that is cut at these seconds."""
    scene = detect_scenes(ingest_videos([path]), SceneSettings(detector="none")).iloc[[0]]
    end = int(scene["end_frame"].iloc[0])
    scenes = pd.concat([scene] * len(edges), ignore_index=True)
    scenes["id"] = [f"{scene['video_id'].iloc[0]}_{k:04d}" for k in range(len(edges))]
    scenes["start_frame"] = [round(edge * FPS) for edge in edges]
    scenes["end_frame"] = [*scenes["start_frame"][1:], end]
    scenes["start"], scenes["end"] = scenes["start_frame"] / FPS, scenes["end_frame"] / FPS
    return scenes


def heard(path: str | Path) -> tuple[np.ndarray, int]:
    """Sound of a file from its first frame on, as players play it: float [N], samples a second."""
    with av.open(str(path)) as container:
        start = container.streams.video[0].start_time * container.streams.video[0].time_base
        rate = container.streams.audio[0].sample_rate
        sound = np.zeros(rate * SECONDS * 2, dtype=np.float32)
        for frame in container.decode(audio=0):
            place = round(float(frame.pts * frame.time_base - start) * rate)
            samples = frame.to_ndarray()[0]
            sound[max(0, place) : place + len(samples)] = samples[max(0, -place) :]
    return sound, rate


def onsets(values: np.ndarray, rate: float) -> list[float]:
    """Seconds at which something begins."""
    loud = np.abs(values) > 0.25 * np.abs(values).max()
    places = np.flatnonzero(loud)
    begins = places[np.diff(places, prepend=-rate) > 0.3 * rate]
    return [float(place / rate) for place in begins]


def assert_in_time(path: str, flashes: int) -> None:
    """Each flash of a clip has its beep, within 8 ms; FFmpeg writes Opus 7 ms early to Matroska."""
    count = probe(Path(path)).num_frames
    seen = onsets(read_frames(path, range(count)).mean(axis=(1, 2, 3)), FPS)
    np.testing.assert_allclose(onsets(*heard(path)), seen, atol=0.008)
    assert len(seen) == flashes


@pytest.mark.parametrize("settings", [KEEP, KEEP_COPY], ids=["reencode", "copy"])
@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("a.mp4", ("-c:a", "aac")),
        ("a.mkv", ("-c:a", "libopus", "-ar", "48000")),
        ("a.ts", ("-c:a", "mp2")),
        ("a.mov", ("-c:a", "pcm_s16le")),
        ("a.mp4", ("-c:a", "aac", "-ac", "6", "-ar", "32000")),
    ],
)
def test_a_flash_has_its_beep(
    tmp_path: Path, name: str, sound: tuple[str, ...], settings: ClipSettings
) -> None:
    path = source(tmp_path, name, *sound)
    clips = split_clips(scenes_of(path, 0.0, 3.0, 7.0), tmp_path / "clips", settings)
    good = clips[clips["status"] == "ok"]
    assert len(good) == 7
    for row in good.itertuples():
        assert_in_time(row.path, round(row.end - row.start))
        with av.open(row.path) as container:
            assert container.streams.audio[0].codec_context.name == "aac"
            length = container.streams.audio[0].duration / RATE
        assert length == pytest.approx(row.end - row.start, abs=1024 / RATE)


def test_the_video_starts_late_or_the_sound_does(tmp_path: Path) -> None:
    """Shifted inputs and edit lists move one of the two; clips follow the times."""
    plain = source(tmp_path, "plain.mp4", "-c:a", "aac")
    late = tmp_path / "late.mkv"  # both, and the video more than the sound
    ffmpeg("-itsoffset", "0.7", "-i", plain, "-map", "0", "-c", "copy", late)
    cut = tmp_path / "cut.mp4"  # an edit list hides what lies before 2.3 s
    ffmpeg("-ss", "2.3", "-i", plain, "-c", "copy", cut)
    quiet = tmp_path / "quiet.mp4"  # its sound begins at 3.8 s
    shifted = ("-itsoffset", "3.8", "-ss", "3.8", "-i", plain)
    ffmpeg("-i", plain, *shifted, "-map", "0:v", "-map", "1:a", "-c", "copy", quiet)
    for path, flashes in ((late, 2), (cut, 2), (quiet, 2)):
        clips = split_clips(scenes_of(path, 0.0, 4.0), tmp_path / "clips", KEEP)
        row = clips[clips["start"] == 4.0].iloc[0]
        assert_in_time(row["path"], flashes)
    with av.open(
        split_clips(scenes_of(quiet, 0.0, 4.0), tmp_path / "clips", KEEP)["path"].iloc[0]
    ) as container:
        assert not container.streams.audio  # all before the sound begins


def test_frames_at_another_rate_and_unevenly_spaced_ones_keep_their_beeps(tmp_path: Path) -> None:
    path = source(tmp_path, "a.mp4", "-c:a", "aac")
    slow = ClipSettings(min_s=1.0, max_s=3.0, fps=5, audio="keep")
    clips = split_clips(scenes_of(path, 1.3, 4.5), tmp_path / "clips", slow)
    for row in clips[clips["status"] == "ok"].itertuples():
        frames = read_frames(row.path, range(row.num_frames)).mean(axis=(1, 2, 3))
        for flash in onsets(frames, 5):
            assert min(abs(flash - beep) for beep in onsets(*heard(row.path))) <= 0.2
    uneven = tmp_path / "uneven.mp4"
    ffmpeg("-i", path, "-vf", "select='not(eq(mod(n\\,7)\\,3))'", "-vsync", "vfr", *X264, uneven)
    clips = split_clips(scenes_of(uneven, 0.0, 2.0), tmp_path / "clips", KEEP)
    good = clips[clips["status"] == "ok"]
    assert len(good) == 6
    for row in good.itertuples():  # a flash whose frame is gone has a beep alone
        frames = read_frames(row.path, range(row.num_frames)).mean(axis=(1, 2, 3))
        beeps = onsets(*heard(row.path))
        for flash in onsets(frames, row.fps):
            assert min(abs(flash - beep) for beep in beeps) <= 1.1 / row.fps


def test_clips_without_sound_stay_without_and_are_the_same_files(tmp_path: Path) -> None:
    silent = source(tmp_path, "silent.mp4", "-an")
    kept = split_clips(scenes_of(silent, 0.0), tmp_path / "clips", KEEP)
    plain = split_clips(scenes_of(silent, 0.0), tmp_path / "clips", ClipSettings(1.0, 2.0))
    pd.testing.assert_frame_equal(kept, plain)
    with av.open(kept["path"].iloc[0]) as container:
        assert not container.streams.audio


def test_dropped_sound_is_not_there_and_kept_sound_gives_equal_bytes(tmp_path: Path) -> None:
    path = source(tmp_path, "a.mp4", "-c:a", "aac")
    scenes = scenes_of(path, 0.0)
    dropped = split_clips(scenes, tmp_path / "one", ClipSettings(1.0, 2.0))
    with av.open(dropped["path"].iloc[0]) as container:
        assert not container.streams.audio
    first = split_clips(scenes, tmp_path / "one", KEEP)
    assert not set(first["path"]) & set(dropped["path"])
    again = split_clips(scenes, tmp_path / "two", KEEP)
    assert list(first["sha256"]) == list(again["sha256"]) == [*map(sha256_file, first["path"])]


def test_a_source_that_is_its_own_clip_keeps_its_sound(tmp_path: Path) -> None:
    path = source(tmp_path, "a.mp4", "-c:a", "aac")
    whole = ClipSettings(min_s=1.0, max_s=20.0, mode="copy", audio="keep")
    clips = split_clips(scenes_of(path, 0.0), tmp_path / "clips", whole)
    assert list(clips["path"]) == [str(path)]
    assert_in_time(str(path), SECONDS)


def test_damaged_sound_is_silent_there_and_in_time_behind(tmp_path: Path) -> None:
    path = source(tmp_path, "a.mp4", "-c:a", "aac")
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    content = bytearray(path.read_bytes())
    for place, size in places[20:26]:
        content[place : place + size] = b"\xff" * size
    path.write_bytes(content)
    with av.open(str(path)) as container, pytest.raises(av.FFmpegError):
        list(container.decode(audio=0))
    clips = split_clips(scenes_of(path, 0.0, 6.0), tmp_path / "clips", KEEP)
    assert_in_time(clips[clips["start"] == 6.0]["path"].iloc[0], 2)


def test_sound_that_no_one_can_place_or_read_is_a_reason(tmp_path: Path) -> None:
    first = source(tmp_path, "a.ts", "-c:a", "mp2")
    later = tmp_path / "b.ts"
    ffmpeg("-i", first, "-map", "0", "-c", "copy", "-output_ts_offset", "500", later)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + later.read_bytes())
    clips = split_clips(scenes_of(joined, 0.0), tmp_path / "clips", KEEP)
    assert set(clips["status"]) == {"sound_unreadable"}
    assert "clock" in clips["detail"].iloc[0]
    with pytest.raises(VideoError, match="clock"):
        Sounds(joined, timeline(joined))
    with pytest.raises(ConfigError, match=r"--audio 'kep'.*'keep'"):
        ClipSettings(audio="kep")
