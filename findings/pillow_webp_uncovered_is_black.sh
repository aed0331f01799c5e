#!/usr/bin/env bash
# Pillow shows black where no frame of a moving WebP stands. Its own encoder writes frames that cover
# only a part of the canvas, and leaves the file's transparency flag unset where no frame is itself
# transparent; its reader then takes the file for opaque RGB. One would expect the picture that was
# saved: transparent there, as the same picture saved as a still WebP, a GIF or a PNG comes back.
#
# Pillow 13.0.0. Seen:
#   still: RGBA [0, 0, 0, 0]
#   moving: RGB [0, 0, 0]
#   moving, flag set by hand: RGBA [0, 0, 0, 0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io

from PIL import Image

frames = []
for k in range(3):
    frame = Image.new("RGBA", (32, 24), (0, 0, 0, 0))
    frame.paste((20, 60, 200, 255), (4 * k, 8, 4 * k + 8, 16))
    frames.append(frame)


def corner(file: io.BytesIO) -> str:
    with Image.open(file) as image:
        image.load()
        return f"{image.mode} {list(image.getpixel((0, 0)))}"


still, moving = io.BytesIO(), io.BytesIO()
frames[0].save(still, format="WEBP", lossless=True)
frames[0].save(
    moving, format="WEBP", save_all=True, append_images=frames[1:], duration=100, lossless=True
)
print("still:", corner(still))
print("moving:", corner(moving))
assert corner(moving) == "RGB [0, 0, 0]"
data = bytearray(moving.getvalue())
data[20] |= 0x10  # the flag of the extended header
print("moving, flag set by hand:", corner(io.BytesIO(bytes(data))))
PYTHON
