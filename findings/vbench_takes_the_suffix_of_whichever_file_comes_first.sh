#!/usr/bin/env bash
# VBench looks for its 946 prompts' videos in one folder, by name: PROMPT-0.mp4 to PROMPT-4.mp4. The
# suffix it takes from the first name that os.listdir gives, whatever that file is, and asks all
# videos to have it; the order is the file system's. So a folder of complete videos with one other
# file in it (a table of scores, a README, VBench's own results of an earlier call) is read as
# complete or as empty, by chance, and a mixed folder of .mp4 and .gif as one of the two. Nothing
# is raised: a warning for each missing video, and a list of videos that is shorter, or empty, from
# which the scores are then made.
#
# vbench 0.1.5. Seen (videos found without and with another file that is listed first):
#   5 of 5
#   0 of 5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.11.0 torchvision==0.26.0 decord==0.6.0 pillow numpy
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps vbench==0.1.5
cd "$folder"
seen=$("$folder/venv/bin/python" - 2>/dev/null <<'PYTHON' | tail -2
import json
import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from vbench import VBench

prompt = "a boat on a lake"
dimension = "subject_consistency"
Path("prompts.json").write_text(json.dumps([{"prompt_en": prompt, "dimension": [dimension]}]))
videos = Path("videos")
videos.mkdir()
for index in range(5):
    (videos / f"{prompt}-{index}.mp4").touch()


def found():
    with redirect_stdout(StringIO()):
        path = VBench("cpu", "prompts.json", "out").build_full_info_json("videos", "x", [dimension])
    return len(json.loads(Path(path).read_text())[0]["video_list"])


print(found(), "of 5")
number = 0
while not os.listdir(videos)[0].endswith(".json"):  # names until the file system lists one first
    (videos / f"scores_{number}.json").touch()
    number += 1
print(found(), "of 5")
PYTHON
)
echo "$seen"
[ "$seen" = "5 of 5
0 of 5" ]
