#!/usr/bin/env bash
# PySceneDetect finds the cuts of a video whose frame rate changes (phones, screen recordings) at the
# right seconds. The frame numbers it gives with them are those seconds times one rate, rounded: the
# average rate with its OpenCV backend, the header's rate with PyAV. So the two differ, neither says
# how many frames come before the cut, and with PyAV they pass the end of the video. Who cuts clips
# by frame number from decoded frames gets clips with a cut inside. Cut by seconds.
#
# scenedetect 0.7.2, opencv-python-headless 5.0.0.93, av 18.1.0. Seen, of 30 frames/s for six seconds
# and 10 frames/s for six more, with a cut every two seconds:
#   decoded: 60 120 180 200 220, 240 in all
#   opencv, seconds: 2 4 6 8 10
#   opencv, frames: 41 81 122 163 203
#   pyav, seconds: 2 4 6 8 10
#   pyav, frames: 60 120 180 240 300
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    scenedetect==0.7.2 opencv-python-headless==5.0.0.93 av==18.1.0 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
from fractions import Fraction

import av
import numpy as np
from scenedetect import ContentDetector, SceneManager, open_video

times = [k / 30 for k in range(180)] + [6 + k / 10 for k in range(60)]
looks = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)
shown = [int(time / 2 + 1e-6) for time in times]
with av.open("video.mp4", "w") as out:
    stream = out.add_stream("libx264", rate=30, options={"x264-params": "log-level=none"})
    stream.width = stream.height = 128
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, 90000)
    for time, look in zip(times, shown):
        picture = looks[look].repeat(16, 0).repeat(16, 1)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = round(time * 90000), Fraction(1, 90000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode())

with av.open("video.mp4") as container:
    count = sum(1 for _ in container.decode(video=0))
cuts = [k for k in range(1, len(shown)) if shown[k] != shown[k - 1]]
print("decoded:", *cuts, end=f", {count} in all\n")
for backend in ("opencv", "pyav"):
    manager = SceneManager()
    manager.add_detector(ContentDetector())
    manager.detect_scenes(open_video("video.mp4", backend=backend))
    starts = [start for start, _ in manager.get_scene_list()[1:]]
    print(f"{backend}, seconds:", *(f"{start.seconds:g}" for start in starts))
    print(f"{backend}, frames:", *(start.frame_num for start in starts))
PYTHON
)
echo "$seen"
[ "$seen" = "decoded: 60 120 180 200 220, 240 in all
opencv, seconds: 2 4 6 8 10
opencv, frames: 41 81 122 163 203
pyav, seconds: 2 4 6 8 10
pyav, frames: 60 120 180 240 300" ]
