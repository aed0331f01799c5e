#!/usr/bin/env bash
# Snakemake deletes a rule's `log:` before each try of a job, so that a job which failed and was
# retried keeps the words of its last try alone, though its command appends (>>). On a cluster the
# reason for the first failure (out of memory, a node that went down) is gone once the retry began.
# The documentation says that logs are kept when a job fails, and they are, until the retry.
#
# snakemake 9.27.0. Seen: two tries, one line in the log, from the second:
#   tries: 2
#   log: try 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check snakemake==9.27.0
cd "$folder"
cat >Snakefile <<'SMK'
rule a:
    output: "a.txt"
    log: "a.log"
    shell: "echo >> tries; n=$(wc -l < tries); echo try $n >> {log}; [ $n = 2 ]; touch {output}"
SMK
"$folder/venv/bin/snakemake" --cores 1 --retries 1 >"$folder/out" 2>&1
seen="tries: $(wc -l <tries)
log: $(cat a.log)"
echo "$seen"
[ "$seen" = "tries: 2
log: try 2" ]
