#!/usr/bin/env bash
# DuckDB sorts NaN above every number, so `score > 9.5` takes rows without a score too. It also skips
# row groups by the smallest and largest value that the file states for them, and writers leave NaN
# out of these. So how many rows it finds depends on how large the row groups are, and isnan() finds
# none at all. The same rows in a table of its own are always all found. Polars and pyarrow write such
# files; pandas writes null instead, with which all is well.
#
# duckdb 2.0.1, pyarrow 26.0.1. Seen, of 2,000 scores of which 78 are above 9.5 and 215 are NaN:
#   row groups of 2000: score > 9.5 293, isnan 0
#   row groups of 10:   score > 9.5 150, isnan 0
#   own table:          score > 9.5 293, isnan 215
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import math
import random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

rng = random.Random(0)
scores = [math.nan if rng.random() < 0.1 else rng.uniform(0, 10) for _ in range(2000)]
assert sum(score > 9.5 for score in scores) == 78
assert sum(map(math.isnan, scores)) == 215
made = pa.table({"score": scores})


def show(words, source):
    counts = [
        duckdb.sql(f"SELECT count(*) FROM {source} WHERE {which}").fetchall()[0][0]
        for which in ("score > 9.5", "isnan(score)")
    ]
    print(f"{words:19} score > 9.5 {counts[0]}, isnan {counts[1]}")


for size in (2000, 10):
    pq.write_table(made, "scores.parquet", row_group_size=size)
    show(f"row groups of {size}:", "'scores.parquet'")
duckdb.sql("CREATE TABLE own AS SELECT * FROM made")
show("own table:", "own")
PYTHON
)
echo "$seen"
[ "$seen" = "row groups of 2000: score > 9.5 293, isnan 0
row groups of 10:   score > 9.5 150, isnan 0
own table:          score > 9.5 293, isnan 215" ]
