"""How much of each folder of src/ was run, as Markdown: coverage.py FLOOR <REPORT.

The report is what `cargo llvm-cov report --json --summary-only` prints. Exits with 1 below the
floor, in percent of all lines.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import PurePath


def folder(file: str) -> str:
    """The folder below src/, or src/ itself."""
    parts = PurePath(file).parts
    inside = parts[len(parts) - parts[::-1].index("src") :]
    return f"src/{inside[0]}" if len(inside) > 1 else "src"


def percent(covered: int, count: int) -> float:
    return 100 * covered / count if count else 100


def main() -> int:
    floor = float(sys.argv[1])
    folders: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in json.load(sys.stdin)["data"][0]["files"]:
        lines = file["summary"]["lines"]
        for name in (folder(file["filename"]), "**all**"):
            folders[name][0] += lines["covered"]
            folders[name][1] += lines["count"]
    print("| folder | lines | run |\n| --- | --- | --- |")
    for name in sorted(folders, key=lambda name: (name == "**all**", name)):
        covered, count = folders[name]
        print(f"| {name} | {count} | {percent(covered, count):.1f} % |")
    reached = percent(*folders["**all**"])
    if reached < floor:
        print(f"\n{reached:.1f} % is below the floor of {floor:g} %: test what was added, or say why the floor is lower")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
