"""Who owns this service, as .github/owner.json says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / ".github" / "owner.json"
FORMS = {
    "team": re.compile(r"\S.*"),
    # As GitHub wants the names of secrets.
    "chat": re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*"),
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
}


class Wrong(Exception):
    """The file cannot be used."""


@dataclass(frozen=True)
class Owner:
    """`chat` is the name of the secret, and so of the variable, that holds its web hook."""

    team: str
    chat: str
    email: str


def load(file: Path = FILE) -> Owner:
    try:
        says = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Wrong(f"{file}: {error}") from error
    if not isinstance(says, dict) or set(says) != set(FORMS):
        raise Wrong(f"{file} holds {', '.join(FORMS)}, and nothing else")
    for name, form in FORMS.items():
        if not isinstance(says[name], str) or not form.fullmatch(says[name]):
            raise Wrong(f"{file}: {name} cannot be {says[name]!r}")
    return Owner(**says)
