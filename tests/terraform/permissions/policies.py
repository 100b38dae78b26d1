"""Judges policies as IAM does.

After "Policy evaluation logic", "IAM JSON policy elements" and "Permissions boundaries" of
the IAM User Guide. What is not known here raises an error rather than being passed over.
"""

import ipaddress
import re
from datetime import datetime

ALLOWED, DENIED, EXPLICITLY_DENIED = "allowed", "denied", "explicitly denied"


class Context:
    """What a request tells of itself by condition keys. Their case does not matter."""

    def __init__(self, values):
        self._values = {}
        for key, value in values.items():
            self._values[key.lower()] = [str(one) for one in (value if isinstance(value, list) else [value])]

    def get(self, key):
        """The values of a key; none at all where the request does not have it."""
        return self._values.get(key.lower())


def judge(action, resource, context, policies, boundary=None):
    """What comes of a request by a role with these policies and, if any, this boundary."""
    context = Context(context)
    effects = [effects_of(policies, action, resource, context)]
    if boundary:
        effects.append(effects_of([boundary], action, resource, context))
    if any("Deny" in found for found in effects):
        return EXPLICITLY_DENIED
    return ALLOWED if all("Allow" in found for found in effects) else DENIED


def trusts(document, provider, context):
    """Whether a role's trust policy lets a token of this provider assume it."""
    found = set()
    for statement in many(document["Statement"]):
        federated = many(statement.get("Principal", {}).get("Federated", []))
        if provider in federated and "sts:AssumeRoleWithWebIdentity" in many(statement["Action"]):
            if meets(statement.get("Condition", {}), Context(context)):
                found.add(statement["Effect"])
    return found == {"Allow"}


def effects_of(policies, action, resource, context):
    statements = [statement for policy in policies for statement in many(policy["Statement"])]
    return {one["Effect"] for one in statements if matches(one, action, resource, context)}


def matches(statement, action, resource, context):
    return (
        element(statement, "Action", lambda pattern: matches_action(pattern, action))
        and element(statement, "Resource", lambda pattern: matches_resource(pattern, resource, context))
        and meets(statement.get("Condition", {}), context)
    )


def element(statement, name, matches_one):
    """Whether Action or Resource matches, or NotAction or NotResource does not."""
    if name in statement:
        return any(map(matches_one, many(statement[name])))
    return not any(map(matches_one, many(statement[f"Not{name}"])))


def matches_action(pattern, action):
    return re.fullmatch(wildcards(pattern.lower()), action.lower()) is not None


def matches_resource(pattern, resource, context):
    return pattern == "*" or matches_arn(pattern, resource, context)


def matches_arn(pattern, arn, context):
    """Each of the six parts on its own; only the last may hold colons."""
    patterns, parts = split_arn(pattern), arn.split(":", 5)
    if len(patterns) != 6 or len(parts) != 6:
        return False
    return all(matches_text(one, part, context) for one, part in zip(patterns, parts))


def split_arn(pattern):
    """The parts of an ARN with variables, whose own colons separate nothing."""
    parts, depth = [""], 0
    for character in pattern:
        depth += (character == "{") - (character == "}")
        if character == ":" and depth == 0 and len(parts) < 6:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def matches_text(pattern, text, context):
    """With wildcards, after variables are replaced by their values, which are literal."""
    expression = ""
    for index, piece in enumerate(re.split(r"\$\{([^}]*)\}", pattern)):
        if index % 2 == 0:
            expression += wildcards(piece)
            continue
        value = variable(piece, context)
        if value is None:
            return False
        expression += re.escape(value)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def variable(text, context):
    if text in ("*", "?", "$"):
        return text
    key, _, default = (part.strip() for part in text.partition(","))
    values = context.get(key)
    if values:
        return values[0]
    return default.strip("'") if default else None


def wildcards(pattern):
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def meets(conditions, context):
    """All operators, all keys of each, and for each key any of its values."""
    return all(
        meets_one(operator, context.get(key), many(values), context)
        for operator, keys in conditions.items()
        for key, values in keys.items()
    )


def meets_one(operator, found, wanted, context):
    quantifier, _, operator = operator.rpartition(":")
    if operator == "Null":
        return (found is None) == (wanted[0].lower() == "true")
    if_exists = operator.endswith("IfExists")
    negated, compare = OPERATORS[operator.removesuffix("IfExists")]

    def accepts(value):
        return any(compare(one, value, context) for one in wanted) != negated

    if quantifier == "ForAllValues":
        return all(accepts(value) for value in found or [])
    if quantifier == "ForAnyValue":
        return any(accepts(value) for value in found or []) or (if_exists and found is None)
    assert not quantifier, quantifier
    if found is None:
        return if_exists or negated
    assert len(found) == 1, f"{operator} compares one value, not {found}"
    return accepts(found[0])


def literal(text, context):
    """A value that is compared exactly, with its variables replaced."""
    values = [variable(name, context) for name in re.findall(r"\$\{([^}]*)\}", text)]
    if None in values:
        return None
    return re.sub(r"\$\{[^}]*\}", lambda _: values.pop(0), text)


def equals(wanted, value, context):
    return literal(wanted, context) == value


def equals_ignoring_case(wanted, value, context):
    return (literal(wanted, context) or "").lower() == value.lower()


def like(wanted, value, context):
    return matches_text(wanted, value, context)


def is_bool(wanted, value, context):
    return wanted.lower() == value.lower()


def is_in_network(wanted, value, context):
    return ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)


def number(compare):
    return lambda wanted, value, context: compare(float(value), float(wanted))


def date(compare):
    def moment(text):
        return datetime.fromtimestamp(float(text)) if text.isdigit() else datetime.fromisoformat(text)

    return lambda wanted, value, context: compare(moment(value), moment(wanted))


ORDERS = {
    "LessThan": lambda a, b: a < b,
    "LessThanEquals": lambda a, b: a <= b,
    "GreaterThan": lambda a, b: a > b,
    "GreaterThanEquals": lambda a, b: a >= b,
}

# For each operator: whether it is negated, and how it compares a value of the policy with
# one of the request.
OPERATORS = {
    "StringEquals": (False, equals),
    "StringNotEquals": (True, equals),
    "StringEqualsIgnoreCase": (False, equals_ignoring_case),
    "StringNotEqualsIgnoreCase": (True, equals_ignoring_case),
    "StringLike": (False, like),
    "StringNotLike": (True, like),
    "Bool": (False, is_bool),
    "IpAddress": (False, is_in_network),
    "NotIpAddress": (True, is_in_network),
    # The guide: ArnEquals and ArnLike behave identically.
    "ArnEquals": (False, matches_arn),
    "ArnLike": (False, matches_arn),
    "ArnNotEquals": (True, matches_arn),
    "ArnNotLike": (True, matches_arn),
    **{
        f"{kind}{name}": (name == "NotEquals", comparison(order))
        for kind, comparison in (("Numeric", number), ("Date", date))
        for name, order in {**ORDERS, "Equals": lambda a, b: a == b, "NotEquals": lambda a, b: a == b}.items()
    },
}


def many(value):
    return value if isinstance(value, list) else [value]
