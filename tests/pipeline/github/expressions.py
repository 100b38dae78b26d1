"""GitHub's expressions, as in `${{ needs.staging.result == 'success' }}`.

After "Evaluate expressions in workflows and actions"
(https://docs.github.com/actions/reference/workflows-and-actions/expressions).
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from errors import WorkflowError

TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<number>[+-]?(?:0x[0-9a-fA-F]+|0o[0-7]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))
      | (?P<name>[A-Za-z_][\w-]*)
      | (?P<operator>&&|\|\||==|!=|<=|>=|[!<>().,\[\]*])
    )""",
    re.VERBOSE,
)
# What a text must look like to be a number in a comparison.
NUMBER = re.compile(r"[+-]?(?:0x[0-9a-fA-F]+|0o[0-7]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|Infinity)")
CONSTANTS = {"true": True, "false": False, "null": None, "nan": math.nan, "infinity": math.inf}

Functions = Mapping[str, Callable[..., Any]]


def evaluate(text: str, contexts: Mapping[str, Any], functions: Functions | None = None) -> Any:
    """The value of an expression, in which `contexts` and, beside GitHub's, `functions` are known."""
    return Parser(text, contexts, {**FUNCTIONS, **(functions or {})}).parse()


def fill(text: Any, contexts: Mapping[str, Any], functions: Functions | None = None) -> str:
    """A text with the values of its expressions."""
    filled, at = "", 0
    text = show(text)
    while (start := text.find("${{", at)) >= 0:
        end = end_of(text, start + 3)
        filled += text[at:start] + show(evaluate(text[start + 3 : end], contexts, functions))
        at = end + 2
    return filled + text[at:]


def end_of(text: str, at: int) -> int:
    """Where the expression that began at `at` ends: at the first }} outside of a string."""
    quoted = False
    for here in range(at, len(text)):
        if text[here] == "'":
            quoted = not quoted
        elif not quoted and text.startswith("}}", here):
            return here
    raise WorkflowError(f"{text[at - 3:]!r} has no }}}}")


class Parser:
    """Evaluates while it parses: recursive descent, one method for each precedence."""

    def __init__(self, text: str, contexts: Mapping[str, Any], functions: Functions):
        self.text, self.contexts = text.strip(), contexts
        self.functions = {name.lower(): function for name, function in functions.items()}
        self.tokens, self.at = list(self.split()), 0

    def split(self):
        at = 0
        while at < len(self.text):
            token = TOKEN.match(self.text, at)
            if not token or token.end() == at:
                raise WorkflowError(f"{self.text!r}: {self.text[at:]!r} is no expression")
            yield token.lastgroup, token[token.lastgroup]
            at = token.end()

    def parse(self) -> Any:
        value = self.disjunction()
        if self.at != len(self.tokens):
            raise WorkflowError(f"{self.text!r}: {self.peek()!r} is one too many")
        return value

    def peek(self) -> str | None:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self, *wanted: str) -> str | None:
        """The next token, if it is one of these."""
        here = self.tokens[self.at] if self.at < len(self.tokens) else (None, None)
        if here[0] != "operator" or here[1] not in wanted:
            return None
        self.at += 1
        return here[1]

    def want(self, wanted: str) -> None:
        if not self.take(wanted):
            raise WorkflowError(f"{self.text!r}: {wanted!r} is missing")

    def disjunction(self) -> Any:
        left = self.conjunction()
        while self.take("||"):
            right = self.conjunction()
            left = left if truthy(left) else right
        return left

    def conjunction(self) -> Any:
        left = self.equality()
        while self.take("&&"):
            right = self.equality()
            left = right if truthy(left) else left
        return left

    def equality(self) -> Any:
        left = self.relation()
        while operator := self.take("==", "!="):
            left = equal(left, self.relation()) is (operator == "==")
        return left

    def relation(self) -> Any:
        left = self.negation()
        while operator := self.take("<", "<=", ">", ">="):
            left = compare(operator, left, self.negation())
        return left

    def negation(self) -> Any:
        if self.take("!"):
            return not truthy(self.negation())
        return self.access(self.primary())

    def primary(self) -> Any:
        if self.take("("):
            value = self.disjunction()
            self.want(")")
            return value
        if self.at == len(self.tokens) or self.tokens[self.at][0] == "operator":
            raise WorkflowError(f"{self.text!r}: a value is missing")
        kind, token = self.tokens[self.at]
        self.at += 1
        if kind == "string":
            return token[1:-1].replace("''", "'")
        if kind == "number":
            return number(token)
        if self.take("("):
            return self.call(token)
        if token.lower() in CONSTANTS and token not in self.contexts:
            return CONSTANTS[token.lower()]
        if token not in self.contexts:
            raise WorkflowError(f"{self.text!r}: there is no {token} here")
        return self.contexts[token]

    def call(self, name: str) -> Any:
        arguments = []
        while not self.take(")"):
            if arguments:
                self.want(",")
            arguments.append(self.disjunction())
        if name.lower() not in self.functions:
            raise WorkflowError(f"{self.text!r}: there is no function {name} here")
        return self.functions[name.lower()](*arguments)

    def access(self, value: Any) -> Any:
        """What follows a value: .name, [index] and .* of all."""
        filtered = False
        while operator := self.take(".", "["):
            if operator == "[":
                key = self.disjunction()
                self.want("]")
            elif self.take("*"):
                value, filtered = [item for item in items(value)], True
                continue
            else:
                key = self.tokens[self.at][1]
                self.at += 1
            if filtered:
                value = [item for item in (member(one, key) for one in value) if item is not None]
            else:
                value = member(value, key)
        return value


def items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []


def member(value: Any, key: Any) -> Any:
    """A member, whose name is told from others without regard to case; nothing if there is none."""
    if isinstance(value, Mapping):
        return next((found for name, found in value.items() if name.lower() == show(key).lower()), None)
    if isinstance(value, list) and not isinstance(key, str) and key == int(key) and 0 <= key < len(value):
        return value[int(key)]
    return None


def truthy(value: Any) -> bool:
    return not (value is None or value is False or value == "" or (is_number(value) and (value == 0 or value != value)))


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any) -> float:
    """What a value counts as beside one of another type."""
    if value is None or isinstance(value, bool) or is_number(value):
        return float(value or 0)
    if not isinstance(value, str):
        return math.nan
    text = value.strip()
    if not text:
        return 0.0
    if not NUMBER.fullmatch(text):
        return math.nan
    bare = text.lstrip("+-").lower()
    if bare[:2] in ("0x", "0o"):
        return float(int(bare, 0)) * (-1 if text[0] == "-" else 1)
    return float(text)


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.upper() == right.upper()
    if isinstance(left, (Mapping, list)) or isinstance(right, (Mapping, list)):
        return left is right
    return number(left) == number(right)


def compare(operator: str, left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        left, right = left.upper(), right.upper()
    else:
        left, right = number(left), number(right)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def show(value: Any) -> str:
    """A value as a text is filled with it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if is_number(value):
        return "NaN" if value != value else f"{value:.15g}".replace("inf", "Infinity")
    return value if isinstance(value, str) else "Array" if isinstance(value, list) else "Object"


def contains(searched: Any, item: Any) -> bool:
    if isinstance(searched, list):
        return any(equal(one, item) for one in searched)
    return not isinstance(searched, Mapping) and show(item).lower() in show(searched).lower()


def replace_fields(text: str, *values: Any) -> str:
    """format(): {0} is the first value, {{ and }} are braces."""

    def field(found: re.Match) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if int(found[1]) >= len(values):
            raise WorkflowError(f"format({text!r}) has no value {found[1]}")
        return show(values[int(found[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}", field, text)


def join(values: Any, separator: str = ",") -> str:
    return separator.join(show(value) for value in values) if isinstance(values, list) else show(values)


def to_json(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


FUNCTIONS: Functions = {
    "contains": contains,
    "startsWith": lambda text, start: show(text).lower().startswith(show(start).lower()),
    "endsWith": lambda text, end: show(text).lower().endswith(show(end).lower()),
    "format": replace_fields,
    "join": join,
    "toJSON": to_json,
    "fromJSON": lambda text: json.loads(show(text)),
}
