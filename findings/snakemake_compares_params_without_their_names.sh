#!/usr/bin/env bash
# Snakemake runs a job again when its params have changed, and compares them as a sorted set of texts
# of values: names are left out, and a value that stands twice counts once. Two params that trade
# their values (frames and height, shift and guidance, thresholds of two scores), or one that takes
# the value of another, leave the set as it was, so that clips, latents and weights of the settings
# before stay and pass for those of the new ones. A change to any value not yet among them is seen.
#
# snakemake 9.27.1. Seen (what is set: what the file that was made says):
#   fps=8 size=16 stride=8: fps=8 size=16 stride=8
#   fps=16 size=8 stride=8: fps=8 size=16 stride=8
#   fps=8 size=16 stride=16: fps=8 size=16 stride=8
#   fps=8 size=32 stride=16: fps=8 size=32 stride=16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check snakemake==9.27.1
cd "$folder"
export XDG_CACHE_HOME="$folder/cache"
cat >Snakefile <<'SNAKEMAKE'
rule cut:
    output:
        "clips.txt",
    params:
        fps=config["fps"],
        size=config["size"],
        stride=config["stride"],
    shell:
        "echo fps={params.fps} size={params.size} stride={params.stride} >{output}"
SNAKEMAKE
seen=$(
    for settings in "fps=8 size=16 stride=8" "fps=16 size=8 stride=8" "fps=8 size=16 stride=16" \
        "fps=8 size=32 stride=16"; do
        # shellcheck disable=SC2086
        venv/bin/snakemake --cores 1 --quiet all --config $settings 2>log || cat log
        echo "$settings: $(cat clips.txt)"
    done
)
echo "$seen"
[ "$seen" = "fps=8 size=16 stride=8: fps=8 size=16 stride=8
fps=16 size=8 stride=8: fps=8 size=16 stride=8
fps=8 size=16 stride=16: fps=8 size=16 stride=8
fps=8 size=32 stride=16: fps=8 size=32 stride=16" ]
