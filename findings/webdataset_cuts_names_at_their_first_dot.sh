#!/usr/bin/env bash
# WebDataset takes what stands before the first dot of a member's name for the key of its sample, and
# all neighbours of one key for one sample. Clips of one video whose own name holds a dot
# (trailer-2.39-0001.mp4, show.s01e02-0001.mp4) so have one key, and all of them become a single
# sample whose fields are called "39-0001.mp4" and so on. Nothing is raised; where the loader then
# asks for "mp4", that field is missing. A dot in a folder's name does no harm, nor does tar itself.
#
# webdataset 1.0.2. Seen, of three clips with a caption each:
#   trailer-0001.mp4 ...: 3 samples, the first has json mp4
#   trailer-2.39-0001.mp4 ...: 1 samples, the first has 39-0001.json 39-0001.mp4 39-0002.json 39-0002.mp4 39-0003.json 39-0003.mp4
#   v2.39/trailer-0001.mp4 ...: 3 samples, the first has json mp4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check webdataset==1.0.2 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import io
import tarfile

import webdataset


def show(stem):
    with tarfile.open("shard.tar", "w") as shard:
        for number in (1, 2, 3):
            for suffix in ("json", "mp4"):
                member = tarfile.TarInfo(f"{stem}-{number:04d}.{suffix}")
                member.size = 2
                shard.addfile(member, io.BytesIO(b"{}"))
    samples = list(webdataset.WebDataset("shard.tar", shardshuffle=False))
    fields = sorted(name for name in samples[0] if not name.startswith("__"))
    print(f"{stem}-0001.mp4 ...: {len(samples)} samples, the first has", *fields)


for stem in ("trailer", "trailer-2.39", "v2.39/trailer"):
    show(stem)
PYTHON
)
echo "$seen"
[ "$seen" = "trailer-0001.mp4 ...: 3 samples, the first has json mp4
trailer-2.39-0001.mp4 ...: 1 samples, the first has 39-0001.json 39-0001.mp4 39-0002.json 39-0002.mp4 39-0003.json 39-0003.mp4
v2.39/trailer-0001.mp4 ...: 3 samples, the first has json mp4" ]
