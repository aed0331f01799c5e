#!/usr/bin/env bash
# imageio, through which diffusers' load_video reads, lets ffmpeg make a constant rate of a video
# whose rate changes: it repeats frames in the gaps (and drops them where they are dense), and states
# the average rate of the frames without the copies. So of one file it gives twice the frames that PyAV
# and OpenCV give, half of them copies of one, at a rate at which they would play twice as long. Frame
# k of one reader is not frame k of another, and captions, scores or conditions by number go astray.
# Screen recordings and phones write such files; a constant rate hides the difference.
#
# imageio 2.38.1, imageio-ffmpeg 0.8.1 (its own ffmpeg 9.0.2), av 18.1.0, opencv-python-headless
# 5.0.0.93. Seen, of 8 frames of 24 frames/s, half a second without any, 4 frames more, in 1 s:
#   PyAV: 12 frames
#   OpenCV: 12 frames at 12 frames/s
#   imageio: 24 frames at 12 frames/s, 12 of them different
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    imageio==2.38.1 imageio-ffmpeg==0.8.1 av==18.1.0 opencv-python-headless==5.0.0.93 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
from fractions import Fraction

import av
import cv2
import imageio
import numpy as np

TICK = Fraction(1, 24)
with av.open("video.mp4", "w") as out:
    options = {"crf": "0", "x264-params": "log-level=none"}
    stream = out.add_stream("libx264", rate=24, options=options)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = TICK
    for k, tick in enumerate([*range(8), *range(20, 24)]):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * k, np.uint8), "rgb24")
        frame.pts, frame.time_base = tick, TICK
        out.mux(stream.encode(frame))
    out.mux(stream.encode())

with av.open("video.mp4") as container:
    print("PyAV:", sum(1 for _ in container.decode(video=0)), "frames")
capture, count = cv2.VideoCapture("video.mp4"), 0
while capture.read()[0]:
    count += 1
print(f"OpenCV: {count} frames at {capture.get(cv2.CAP_PROP_FPS):g} frames/s")
with imageio.get_reader("video.mp4", "ffmpeg") as reader:
    rate = reader.get_meta_data()["fps"]
    frames = [frame[0, 0, 0].item() for frame in reader]
print(f"imageio: {len(frames)} frames at {rate:g} frames/s, {len(set(frames))} of them different")
PYTHON
)
echo "$seen"
[ "$seen" = "PyAV: 12 frames
OpenCV: 12 frames at 12 frames/s
imageio: 24 frames at 12 frames/s, 12 of them different" ]
