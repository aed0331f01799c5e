#!/usr/bin/env bash
# A score of 0.7 that a model gave as float32 is 0.69999999 to a float64. pandas rounds the threshold
# to the column's type, so `score >= 0.7` keeps it. The same condition given to read_parquet as
# filters= is carried out by pyarrow, which widens the column instead: the row is gone. In isin()
# pandas itself widens. So where the clips at a threshold go depends on the moment at which they are
# filtered, though filters= reads like the same thing, only faster. Store scores as float64.
#
# pandas 3.1.1, pyarrow 26.0.1. Seen, of scores 0.5, 0.7, 0.9 in float32, and in float64:
#   float32: table[score >= 0.7] b c; read_parquet(filters) c; score == 0.7 b; isin([0.7]) none
#   float64: table[score >= 0.7] b c; read_parquet(filters) b c; score == 0.7 b; isin([0.7]) b
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import pandas as pd


def ids(table):
    return " ".join(table.id) or "none"


for kind in ("float32", "float64"):
    scores = pd.Series([0.5, 0.7, 0.9], dtype=kind)
    pd.DataFrame({"id": ["a", "b", "c"], "score": scores}).to_parquet("scores.parquet")
    table = pd.read_parquet("scores.parquet")
    filtered = pd.read_parquet("scores.parquet", filters=[("score", ">=", 0.7)])
    print(
        f"{kind}: table[score >= 0.7] {ids(table[table.score >= 0.7])}; read_parquet(filters) "
        f"{ids(filtered)}; score == 0.7 {ids(table[table.score == 0.7])}; "
        f"isin([0.7]) {ids(table[table.score.isin([0.7])])}"
    )
PYTHON
)
echo "$seen"
[ "$seen" = "float32: table[score >= 0.7] b c; read_parquet(filters) c; score == 0.7 b; isin([0.7]) none
float64: table[score >= 0.7] b c; read_parquet(filters) b c; score == 0.7 b; isin([0.7]) b" ]
