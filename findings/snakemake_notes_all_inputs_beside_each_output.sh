#!/usr/bin/env bash
# A rule that gathers N tables and writes N, as a global filter over shards does, costs Snakemake N
# squared where nobody looks: behind the job, a record of every output in .snakemake/metadata holds
# the names and the checksums of all inputs, and inputs are hashed anew for each. A dry run shows
# nothing of it. At 1,000 shards it is a million names for one job that moved 2,000 small files; a
# rule with one output, or one input that lists the others, pays once.
#
# snakemake 9.27.1. Seen (inputs and outputs of the rule: names of inputs noted, checksums noted):
#   10: 100 names, 100 checksums
#   20: 400 names, 400 checksums
#   40: 1600 names, 1600 checksums
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check snakemake==9.27.1

cd "$folder"
cat > Snakefile <<'SNAKEFILE'
parts = range(int(config["parts"]))


rule all:
    input:
        expand("out/{k}.txt", k=parts),


rule one:
    output:
        "in/{k}.txt",
    shell:
        "echo {wildcards.k} > {output}"


rule gather:
    input:
        expand("in/{k}.txt", k=parts),
    output:
        expand("out/{k}.txt", k=parts),
    shell:
        "touch {output}"
SNAKEFILE
seen=$(for parts in 10 20 40; do
    rm -rf .snakemake in out
    venv/bin/snakemake --quiet all --cores 1 all --config "parts=$parts" >/dev/null 2>&1
    venv/bin/python - "$parts" <<'PYTHON'
import json
import sys
from pathlib import Path

records = [json.loads(path.read_text()) for path in Path(".snakemake/metadata").iterdir()]
gathered = [record for record in records if record["rule"] == "gather"]
names = sum(len(record["input"]) for record in gathered)
sums = sum(len(record["input_checksums"]) for record in gathered)
print(f"{sys.argv[1]}: {names} names, {sums} checksums")
PYTHON
done)
echo "$seen"
[ "$seen" = "10: 100 names, 100 checksums
20: 400 names, 400 checksums
40: 1600 names, 1600 checksums" ]
