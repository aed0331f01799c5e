#!/usr/bin/env bash
# A pipeline of diffusers gives a video as arrays in 0 to 1 (its default, "np") or as PIL pictures. On
# the way to a file export_to_video cuts arrays off to whole levels, while the pictures were rounded:
# half of all values are one level darker by one way than by the other, and of the 256 levels that a
# decoder could give back exactly, 63 come out one lower. A metric on files (FVD, PSNR of an
# autoencoder, a comparison of two trainers) so depends on the output type that was asked for.
#
# diffusers 0.42.1, torch 2.11.0. Seen:
#   arrays darker than pictures: 0.50 of all values, by one level at most: True
#   levels 0 to 255 that change: as arrays 63, as pictures 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    diffusers==0.42.1 torch==2.11.0 imageio==2.38.1 imageio-ffmpeg==0.8.1
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import imageio
import numpy as np
import torch
from diffusers.utils import export_to_video
from diffusers.video_processor import VideoProcessor


class Writer(list):
    """What export_to_video hands to the encoder."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    append_data = list.append


def written(decoded, kind):
    writer = Writer()
    imageio.get_writer = lambda *args, **options: writer
    export_to_video(VideoProcessor().postprocess_video(decoded, kind)[0], "video.mp4")
    return np.stack(writer).astype(int)


decoded = torch.rand(1, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
apart = written(decoded, "pil") - written(decoded, "np")
print(f"arrays darker than pictures: {(apart == 1).mean():.2f} of all values, "
      f"by one level at most: {set(np.unique(apart)) == {0, 1}}")
levels = torch.arange(256).reshape(1, 1, 1, 16, 16).expand(1, 3, 1, 16, 16)
changed = [(written(levels / 255 * 2 - 1, kind)[0, ..., 0] != levels[0, 0, 0].numpy()).sum()
           for kind in ("np", "pil")]
print(f"levels 0 to 255 that change: as arrays {changed[0]}, as pictures {changed[1]}")
PYTHON
)
echo "$seen"
[ "$seen" = "arrays darker than pictures: 0.50 of all values, by one level at most: True
levels 0 to 255 that change: as arrays 63, as pictures 0" ]
