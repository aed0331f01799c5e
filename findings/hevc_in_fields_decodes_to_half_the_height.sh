#!/usr/bin/env bash
# HEVC holds interlaced footage as one picture a field. FFmpeg's decoder gives each as a frame of its
# own: 16 frames of 64x32 where 8 frames of 64x64 were filmed, at twice the rate, and the header says
# the same. H.264 from the same camera comes as whole frames with two woven fields. A pipeline that
# reads size and rate from the header trains on squashed pictures whose lines jump by half a line; a
# deinterlacer for woven fields, switched on by the flag, harms them further. Weave them in pairs.
#
# av 18.1.0 with its own FFmpeg. Seen:
#   header: 64x32, 50 frames/s
#   decoded: 16 frames of 64x32, all marked interlaced: True
#   lines of the first two frames, woven: the 64 lines of the first picture: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy
seen=$("$folder/venv/bin/python" - "$folder/fields.mp4" <<'PYTHON'
import sys

import av
import numpy as np

pictures = []
for k in range(8):
    picture = np.full((64, 64), 40, np.uint8)
    picture[16:48, 4 + 4 * k : 24 + 4 * k] = 200  # a box that moves
    picture[0::2, 60:] = 90  # even lines differ from odd ones
    pictures.append(picture)
with av.open(sys.argv[1], "w") as file:
    stream = file.add_stream("libx265", rate=50)
    stream.width, stream.height, stream.pix_fmt = 64, 32, "gray"
    stream.options = {"x265-params": "log-level=none:interlace=tff:lossless=1"}
    for picture in pictures:
        for first in (0, 1):  # top field, bottom field
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[first::2]), "gray")
            file.mux(stream.encode(frame))
    file.mux(stream.encode())
with av.open(sys.argv[1]) as file:
    stream = file.streams.video[0]
    print(f"header: {stream.width}x{stream.height}, {stream.average_rate} frames/s")
    frames = list(file.decode(stream))
sizes = {f"{frame.width}x{frame.height}" for frame in frames}
flags = all(frame.interlaced_frame for frame in frames)
print(f"decoded: {len(frames)} frames of {' '.join(sizes)}, all marked interlaced: {flags}")
woven = np.stack([frame.to_ndarray(format="gray") for frame in frames[:2]], 1).reshape(64, 64)
same = bool((woven == pictures[0]).all())
print(f"lines of the first two frames, woven: the 64 lines of the first picture: {same}")
PYTHON
)
echo "$seen"
[ "$seen" = "header: 64x32, 50 frames/s
decoded: 16 frames of 64x32, all marked interlaced: True
lines of the first two frames, woven: the 64 lines of the first picture: True" ]
