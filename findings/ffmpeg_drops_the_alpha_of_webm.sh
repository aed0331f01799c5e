#!/usr/bin/env bash
# VP9 keeps transparency in WebM as a second picture beside each packet. FFmpeg's own VP9 decoder,
# which PyAV takes by default, passes it by: the stream says yuv420p, so does each frame, and what
# was transparent comes out in whatever colour lay below (here red where nothing is to be seen). No
# error, no warning; only the stream's metadata says alpha_mode=1. Asked for by name, libvpx-vp9 of
# the same wheel gives yuva420p. With PNG, ProRes 4444 or QuickTime animation the alpha is there.
#
# av 18.1.0. Seen:
#   vp9 yuv420p alpha_mode=1
#   libvpx-vp9 yuva420p
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy as np

rgba = np.zeros((64, 64, 4), np.uint8)
rgba[..., 0] = 255
rgba[16:48, 16:48, 3] = 255
with av.open("clip.webm", "w") as out:
    stream = out.add_stream("libvpx-vp9", rate=8)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuva420p"
    for _ in range(4):
        frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format="yuva420p")
        out.mux(stream.encode(frame))
    out.mux(stream.encode())

with av.open("clip.webm") as container:
    stream = container.streams.video[0]
    frame = next(container.decode(stream))
    name = stream.codec_context.name
    print(name, frame.format.name, f"alpha_mode={stream.metadata['alpha_mode']}")
with av.open("clip.webm") as container:
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    frames = [f for packet in container.demux(video=0) for f in decoder.decode(packet)]
    print(decoder.name, frames[0].format.name)
PYTHON
)
echo "$seen"
[ "$seen" = "vp9 yuv420p alpha_mode=1
libvpx-vp9 yuva420p" ]
