"""Validates usernames with Python's jsonschema: usernames.py DESCRIPTION"""

import json
import sys
import unicodedata

from jsonschema import Draft202012Validator


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        parameters = json.load(file)["paths"]["/hello/{username}"]["parameters"]
    schema = parameters[0]["schema"]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    checked = 0
    for character in map(chr, range(128)):
        for username in (character, f"Ann{character}"):
            is_name = unicodedata.category(character).startswith("L")
            if username == "Ann\n":
                # In Python `$` also matches before a line feed at the end.
                is_name = True
            assert validator.is_valid(username) == is_name, ascii(username)
            checked += 1
    for username in ("José", "Jose\u0301", "Мария", "李小龍", "नेहा", "a" * 64):
        assert validator.is_valid(username), ascii(username)
    for username in ("", "a" * 65):
        assert not validator.is_valid(username), ascii(username)
    print(f"{checked} checked")


main()
