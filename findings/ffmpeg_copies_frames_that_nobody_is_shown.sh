#!/usr/bin/env bash
# `ffmpeg -ss 2.75 -i video -c copy clip.mp4` has to begin at the keyframe before, and notes in an edit
# list of the MP4 that the first frames are not to be shown. Decoders obey: PyAV, OpenCV and ffmpeg
# give 24 frames. But the header, and CAP_PROP_FRAME_COUNT with it, counts all 30 that lie in the
# file, and a loader that draws its indices below that number asks for frames that never come: the
# last draws are empty or repeated. The same command with clip.mkv has no edit list: 30 frames, of
# which the first six are what came before, so the clip may begin in the scene before.
#
# imageio-ffmpeg 0.8.1 (its own ffmpeg 9.0.2), av 18.1.0, opencv-python-headless 5.0.0.93. Seen, cut
# at frame 22 of a video with a keyframe every 16:
#   clip.mp4: header 30, OpenCV counts 30; PyAV decodes 24 from frame 22, OpenCV 24 from frame 22
#   clip.mkv: header 0, OpenCV counts 30; PyAV decodes 30 from frame 16, OpenCV 30 from frame 16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    imageio-ffmpeg==0.8.1 av==18.1.0 opencv-python-headless==5.0.0.93 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import subprocess

import av
import cv2
import imageio_ffmpeg
import numpy as np


def number(red):
    return round((int(red) - 10) / 3)


with av.open("video.mp4", "w") as out:
    options = {"g": "16", "crf": "0", "x264-params": "log-level=none"}
    stream = out.add_stream("libx264", rate=8, options=options)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for k in range(64):
        grey = np.full((64, 64, 3), 10 + 3 * k, np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
    out.mux(stream.encode())

for name in ("clip.mp4", "clip.mkv"):
    command = f"-v error -ss 2.75 -i video.mp4 -t 3 -c copy {name}"
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command.split()], check=True)
    with av.open(name) as container:
        stream = container.streams.video[0]
        header = stream.frames
        by_av = [number(f.to_ndarray(format="rgb24")[0, 0, 0]) for f in container.decode(stream)]
    capture = cv2.VideoCapture(name)
    counted, by_cv = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), []
    while True:
        there, picture = capture.read()
        if not there:
            break
        by_cv.append(number(picture[0, 0, 0]))
    print(
        f"{name}: header {header}, OpenCV counts {counted}; PyAV decodes {len(by_av)} from frame "
        f"{by_av[0]}, OpenCV {len(by_cv)} from frame {by_cv[0]}"
    )
PYTHON
)
echo "$seen"
[ "$seen" = "clip.mp4: header 30, OpenCV counts 30; PyAV decodes 24 from frame 22, OpenCV 24 from frame 22
clip.mkv: header 0, OpenCV counts 30; PyAV decodes 30 from frame 16, OpenCV 30 from frame 16" ]
