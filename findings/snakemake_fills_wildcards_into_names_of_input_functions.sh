#!/usr/bin/env bash
# An input function of Snakemake returns the name of a file, but Snakemake fills wildcards into that
# name once more. Where files are named by others and a name holds braces, another file is taken
# without a word (here a.txt in place of {name}.txt, which exists), or the rule is refused, and
# doubled braces are no way out. One would expect a function's answer to be the name itself.
#
# snakemake 9.27.1. Seen:
#   raw/{name}.txt, which holds "braces": the copy holds "another"
#   raw/take{1}.txt: WildcardError
#   raw/take{{1}}.txt: WildcardError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check snakemake==9.27.1

cd "$folder"
mkdir raw
echo braces > 'raw/{name}.txt'
echo another > raw/a.txt
echo one > 'raw/take{1}.txt'
cat > Snakefile <<'SNAKEFILE'
rule copy:
    input: lambda wildcards: "raw/{name}.txt"
    output: "copy/{name}.txt"
    shell: "cp '{input}' {output}"

rule take:
    input: lambda wildcards: "raw/take{1}.txt"
    output: "take/{name}.txt"
    shell: "cp '{input}' {output}"

rule doubled:
    input: lambda wildcards: "raw/take{{1}}.txt"
    output: "doubled/{name}.txt"
    shell: "cp '{input}' {output}"
SNAKEFILE

"$folder/venv/bin/snakemake" --cores 1 copy/a.txt > log 2>&1 || { cat log; exit 1; }
seen="raw/{name}.txt, which holds \"braces\": the copy holds \"$(cat copy/a.txt)\""
for name in take doubled; do
    "$folder/venv/bin/snakemake" --cores 1 "$name/a.txt" > log 2>&1 && said="copied" \
        || said=$(grep -o 'WildcardError' log)
    [ "$name" = take ] && file='raw/take{1}.txt' || file='raw/take{{1}}.txt'
    seen+=$'\n'"$file: $said"
done
echo "$seen"
[ "$seen" = 'raw/{name}.txt, which holds "braces": the copy holds "another"
raw/take{1}.txt: WildcardError
raw/take{{1}}.txt: WildcardError' ]
