#!/usr/bin/env bash
# PyAV turns RGB frames into the YUV of the encoder by itself, by the BT.601 matrix. Set the stream's
# colour space to BT.709, as HD video has it and as players assume, and the file says BT.709 while
# its numbers remain those of BT.601: every reader that heeds the tag (PyAV, OpenCV, browsers) shows
# other colours, a red 16 levels off. Left untagged the file comes back right in Python, and wrong in
# players that take HD for BT.709. Converting and tagging are two calls: reformat(dst_colorspace=...).
#
# av 18.1.0, opencv-python-headless 5.0.0.93. Seen, of (220, 40, 40) written losslessly:
#   untagged: PyAV (220, 39, 39), OpenCV (220, 39, 39)
#   tagged BT.709: PyAV (235, 56, 36), OpenCV (235, 56, 36)
#   converted and tagged: PyAV (219, 38, 39), OpenCV (219, 38, 39)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    av==18.1.0 opencv-python-headless==5.0.0.93 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace

red = np.full((64, 64, 3), (220, 40, 40), np.uint8)


def write(tagged, converted):
    with av.open("clip.mp4", "w") as out:
        options = {"crf": "0", "x264-params": "log-level=none"}
        stream = out.add_stream("libx264", rate=8, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        if tagged:
            stream.codec_context.colorspace = Colorspace.ITU709
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(red, "rgb24")
            if converted:
                frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def read():
    with av.open("clip.mp4") as container:
        by_av = next(container.decode(video=0)).to_ndarray(format="rgb24")[32, 32]
    by_cv = cv2.VideoCapture("clip.mp4").read()[1][32, 32, ::-1]
    return f"PyAV {tuple(by_av.tolist())}, OpenCV {tuple(by_cv.tolist())}"


for words, tagged, converted in (
    ("untagged", False, False), ("tagged BT.709", True, False), ("converted and tagged", True, True)
):
    write(tagged, converted)
    print(f"{words}: {read()}")
PYTHON
)
echo "$seen"
[ "$seen" = "untagged: PyAV (220, 39, 39), OpenCV (220, 39, 39)
tagged BT.709: PyAV (235, 56, 36), OpenCV (235, 56, 36)
converted and tagged: PyAV (219, 38, 39), OpenCV (219, 38, 39)" ]
