"""Renew the built files of npm packages that the report ships: `make vendor`, which needs npm.

So are those that tests of the browser use. Each line of a folder's table.csv names a file, the
package and version it comes from, its place there and its licence; the hash is written anew. To
take another version, change its number in the table and run this.
"""

import csv
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SHIPPED = REPOSITORY / "opensora/report/vendor"
FOLDERS = (SHIPPED, REPOSITORY / "tests/browser/vendor")
TABLE = "table.csv"


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def renew(folder: Path) -> None:
    """Fetch every package once and put its files in place."""
    rows = read_table(folder)
    for name in sorted({f"{row['package']}@{row['version']}" for row in rows}):
        with tempfile.TemporaryDirectory() as place:
            command = ["npm", "pack", "--silent", "--ignore-scripts", name]
            found = subprocess.run(command, cwd=place, check=True, capture_output=True, text=True)
            with tarfile.open(Path(place) / found.stdout.split()[-1]) as package:
                for row in rows:
                    if f"{row['package']}@{row['version']}" == name:
                        content = package.extractfile(f"package/{row['path']}")
                        assert content is not None, row
                        (folder / row["file"]).write_bytes(content.read())
                        row["sha256"] = sha256(folder / row["file"])
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    for folder in FOLDERS:
        renew(folder)
