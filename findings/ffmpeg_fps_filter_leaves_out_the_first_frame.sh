#!/usr/bin/env bash
# ffmpeg's filter fps=8 on 24 frames/s takes frames 1, 4, 7, not 0, 3, 6 as a stride of three does: it
# rounds times to the nearest tick of the new rate, and of those that fall on one tick keeps the last.
# To 12 frames/s it takes 0, 2, 4 as one expects, and the same frames with times one frame later give
# 0, 3, 6 again, so the choice hangs on where the file's clock begins. Captions, latents and first
# frames (for image-to-video) made partly with the filter and partly by stride are of other moments.
# round=up keeps the first of each.
#
# av 18.1.0 with its own FFmpeg. Seen, of 12 frames of 24 frames/s:
#   fps=8: 1 4 7 10
#   fps=12: 0 2 4 6 8 10
#   fps=8, times one frame later: 0 3 6 9
#   fps=8, times two frames later: 2 5 8
#   fps=8:round=up: 0 3 6 9
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy
seen=$("$folder/venv/bin/python" - <<'PYTHON'
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

TICK = Fraction(1, 24)


def taken(options, later=0):
    graph = Graph()
    source = graph.add_buffer(width=16, height=16, format="gray", time_base=TICK)
    fps, sink = graph.add("fps", options), graph.add("buffersink")
    source.link_to(fps)
    fps.link_to(sink)
    graph.configure()
    frames = []
    for k in range(12):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16), k, np.uint8), "gray")
        frame.pts, frame.time_base = k + later, TICK
        frames.append(frame)
    numbers = []
    for frame in [*frames, None]:
        graph.vpush(frame)
        while True:
            try:
                numbers.append(int(graph.vpull().to_ndarray()[0, 0]))
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    return numbers


print("fps=8:", *taken("8"))
print("fps=12:", *taken("12"))
print("fps=8, times one frame later:", *taken("8", later=1))
print("fps=8, times two frames later:", *taken("8", later=2))
print("fps=8:round=up:", *taken("8:round=up"))
PYTHON
)
echo "$seen"
[ "$seen" = "fps=8: 1 4 7 10
fps=12: 0 2 4 6 8 10
fps=8, times one frame later: 0 3 6 9
fps=8, times two frames later: 2 5 8
fps=8:round=up: 0 3 6 9" ]
