#!/usr/bin/env bash
# `--config name=value` of Snakemake and the same line in a config file are read by two readers. On
# the command line only False and True are truth values: `false` stays a text, and a text that is not
# empty is true, so that `if config["shuffle"]` is taken. Numbers differ as well: 1e-4 is a number
# there and a text in the file, 010 is ten there and eight in the file. A run that is tried with
# --config and then written down, or the other way round, is another run.
#
# snakemake 9.27.1. Seen (value: in the file; on the command line):
#   false: False; 'false', which is true
#   1e-4: '1e-4'; 0.0001
#   010: 8; 10
#   16:9: 969; '16:9'
#   8: 8; 8
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check snakemake==9.27.1
cd "$folder"
export XDG_CACHE_HOME="$folder/cache"
cat >Snakefile <<'SNAKEMAKE'
with open("seen.txt", "w") as file:
    value = config["value"]
    words = ", which is true" if isinstance(value, str) and value == "false" and value else ""
    print(f"{value!r}{words}", file=file)


rule nothing:
    output:
        "nothing.txt",
    shell:
        "touch {output}"
SNAKEMAKE
read_by() {
    venv/bin/snakemake --dry-run --quiet all "$@" >log 2>&1 || cat log
    cat seen.txt
}
seen=$(
    for value in false 1e-4 010 16:9 8; do
        echo "value: $value" >config.yaml
        file=$(read_by --configfile config.yaml)
        echo "$value: $file; $(read_by --config "value=$value")"
    done
)
echo "$seen"
[ "$seen" = "false: False; 'false', which is true
1e-4: '1e-4'; 0.0001
010: 8; 10
16:9: 969; '16:9'
8: 8; 8" ]
