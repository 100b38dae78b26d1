"""What a step writes to the files that GitHub gives it: NAME=VALUE, or several lines:

NAME<<END
…
END
"""

from errors import WorkflowError


def read_values(text: str) -> dict[str, str]:
    """The values of GITHUB_OUTPUT or GITHUB_ENV."""
    values: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, sign, rest = split(line)
        if not line:
            continue
        if not sign:
            raise WorkflowError(f"{line!r} is neither NAME=VALUE nor NAME<<END")
        values[name] = rest if sign == "=" else "\n".join(until(rest, lines))
    return values


def split(line: str) -> tuple[str, str, str]:
    """A line at its first = or <<, whichever comes first."""
    value, block = line.find("="), line.find("<<")
    sign = "<<" if block >= 0 and (value < 0 or block < value) else "="
    name, found, rest = line.partition(sign)
    return name, found, rest


def until(end: str, lines) -> list[str]:
    taken = []
    for line in lines:
        if line == end:
            return taken
        taken.append(line)
    raise WorkflowError(f"{end} never comes")
