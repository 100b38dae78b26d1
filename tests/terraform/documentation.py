#!/usr/bin/env python3
"""Keeps the tables of variables and outputs in a folder's README.md in step with its files.

    tests/terraform/documentation.py terraform packer            # exits 1 if a table is not in step
    tests/terraform/documentation.py --write terraform packer    # rewrites it

A folder holds *.tf or *.pkr.hcl. A table stands between <!-- variables --> and <!-- /variables -->,
or <!-- outputs --> and <!-- /outputs -->, in the form that terraform-docs gives it.

The files are read as `terraform fmt` lays them out, which a test asserts: a block begins and ends
at the margin, and its arguments are indented by two spaces.
"""

import html
import json
import re
import sys
from pathlib import Path

BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}\n', re.MULTILINE | re.DOTALL)
ARGUMENT = re.compile(r"^  (\w+) += (.*)$")
NESTED = re.compile(r"^  \w+ \{$")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def blocks(folder, kind):
    """The name and the arguments of each variable or output, by name."""
    found = {}
    for path in sorted([*folder.glob("*.tf"), *folder.glob("*.pkr.hcl")]):
        for block in BLOCK.finditer(path.read_text()):
            if block[1] == kind:
                found[block[2]] = arguments(f"{path}: {block[2]}", block[3].splitlines())
    return dict(sorted(found.items()))


def arguments(where, lines):
    found = {}
    lines = iter(lines)
    for line in lines:
        if argument := ARGUMENT.match(line):
            value = argument[2]
            while depth(value) > 0:
                value += "\n" + next(lines).removeprefix("  ")
            found[argument[1]] = value
        elif NESTED.match(line):
            while next(lines) != "  }":
                pass
        elif line.strip() and not line.strip().startswith("#"):
            sys.exit(f"documentation.py: {where}: cannot read {line!r}")
    if not found.get("description", "").endswith('."'):
        sys.exit(f"documentation.py: {where}: the description is not a sentence")
    return found


def depth(value):
    """How many brackets are open, outside of strings."""
    rest = STRING.sub("", value)
    if "<<" in rest:
        sys.exit(f"documentation.py: cannot read {value!r}")
    return sum(rest.count(open) for open in "([{") - sum(rest.count(close) for close in ")]}")


def prose(value):
    return html.escape(json.loads(value), quote=False).replace("|", "\\|")


def code(value):
    if "\n" in value or "|" in value:
        return f"<pre>{html.escape(value, quote=False)}</pre>".replace("\n", "<br/>").replace("|", "&#124;")
    return f"`{value}`"


def variables(folder):
    rows = [
        [
            f"`{name}`",
            prose(given["description"]),
            code(given.get("type", "any")),
            code(given["default"]) if "default" in given else "n/a",
            "no" if "default" in given else "yes",
        ]
        for name, given in blocks(folder, "variable").items()
    ]
    return table(["Name", "Description", "Type", "Default", "Required"], rows)


def outputs(folder):
    return table(["Name", "Description"], [[f"`{name}`", prose(given["description"])] for name, given in blocks(folder, "output").items()])


def table(head, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def in_step(folder, text):
    """README.md with tables of what is there now."""
    for name, make in {"variables": variables, "outputs": outputs}.items():
        between = re.compile(f"(<!-- {name} -->\n).*?(\n?<!-- /{name} -->)", re.DOTALL)
        if between.search(text):
            made = make(folder)
            text = between.sub(lambda match: f"{match[1]}{made}\n{match[2].lstrip()}", text)
        elif blocks(folder, name.removesuffix("s")):
            sys.exit(f"documentation.py: {folder}/README.md has no <!-- {name} -->")
    return text


def main(arguments):
    stale = []
    for folder in map(Path, (argument for argument in arguments if argument != "--write")):
        readme = folder / "README.md"
        if not readme.exists():
            sys.exit(f"documentation.py: there is no {readme}")
        text = readme.read_text()
        wanted = in_step(folder, text)
        if wanted != text:
            stale.append(str(folder))
            if "--write" in arguments:
                readme.write_text(wanted)
    if stale and "--write" not in arguments:
        sys.exit(f"README.md is not in step: run tests/terraform/documentation.py --write {' '.join(stale)}")


if __name__ == "__main__":
    main(sys.argv[1:])
