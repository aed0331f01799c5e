#!/usr/bin/env bash
# Polars sums a column of 8 or 16 bits in 64, and one of 32 bits in 32: a sum beyond 2,147,483,647
# comes out negative, without an error or a warning. pandas, pyarrow and DuckDB widen. A count of
# tokens or pixels per clip fits 32 bits with ease and a data set's sum does not, so the forecast of
# a training's length or the weights of a mixture are nonsense; the mean is right, which hides it.
#
# polars 2.1.0, pandas 3.1.1, pyarrow 26.0.1, duckdb 2.0.1. Seen, of 3,000 clips of 1,000,000 tokens:
#   pandas 3000000000
#   pyarrow 3000000000
#   duckdb 3000000000
#   polars -1294967296, mean 1000000
#   polars, 30,000 times 100,000 by group -1294967296
#   polars, Int16: 98301000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    polars==2.1.0 pandas==3.1.1 pyarrow==26.0.1 duckdb==2.0.1
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

pq.write_table(pa.table({"tokens": pa.array([1_000_000] * 3000, pa.int32())}), "clips.parquet")
print("pandas", pd.read_parquet("clips.parquet").tokens.sum())
print("pyarrow", pc.sum(pq.read_table("clips.parquet")["tokens"]))
print("duckdb", duckdb.sql("SELECT sum(tokens) FROM 'clips.parquet'").fetchall()[0][0])
clips = pl.scan_parquet("clips.parquet")
total, mean = clips.select(pl.sum("tokens"), pl.mean("tokens").alias("mean")).collect().row(0)
print(f"polars {total}, mean {mean:.0f}")
small = pl.DataFrame({"bucket": ["a"] * 30000, "tokens": pl.Series([100_000] * 30000, dtype=pl.Int32)})
print("polars, 30,000 times 100,000 by group", small.group_by("bucket").sum()["tokens"][0])
print("polars, Int16:", pl.Series([32767] * 3000, dtype=pl.Int16).sum())
PYTHON
)
echo "$seen"
[ "$seen" = "pandas 3000000000
pyarrow 3000000000
duckdb 3000000000
polars -1294967296, mean 1000000
polars, 30,000 times 100,000 by group -1294967296
polars, Int16: 98301000" ]
