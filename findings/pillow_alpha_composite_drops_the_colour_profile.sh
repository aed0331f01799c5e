#!/usr/bin/env bash
# A picture with transparency is put over a plain background to lose it, and with Pillow's
# alpha_composite it loses its ICC profile too: the result has what the first picture, the
# background, brings. Saved, its numbers are read as sRGB, and the colours of a Display P3 or Adobe
# RGB picture are others. convert, resize, rotate and crop keep the profile, which makes it unexpected.
#
# Pillow 13.0.0. Seen:
#   convert, resize, rotate, crop: kept
#   alpha_composite over a background: lost
#   the same, saved as PNG and read: lost
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import io

from PIL import Image, ImageCms


def word(image):
    return "kept" if image.info.get("icc_profile") == profile else "lost"


def saved(image, **more):
    file = io.BytesIO()
    image.save(file, format="PNG", **more)
    return Image.open(file)


profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
image = saved(Image.new("RGBA", (8, 8), (200, 40, 40, 128)), icc_profile=profile)
made = [image.convert("RGB"), image.resize((4, 4)), image.rotate(90), image.crop((0, 0, 4, 4))]
assert {word(one) for one in made} == {"kept"}
print("convert, resize, rotate, crop: kept")
over = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
print("alpha_composite over a background:", word(over))
print("the same, saved as PNG and read:", word(saved(over)))
PYTHON
)
echo "$seen"
[ "$seen" = "convert, resize, rotate, crop: kept
alpha_composite over a background: lost
the same, saved as PNG and read: lost" ]
