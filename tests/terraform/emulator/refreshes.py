"""Instance refreshes of Auto Scaling groups, which moto lacks.

After the API reference of Amazon EC2 Auto Scaling and its guide's "Undo changes with a
manual or auto rollback". There is no clock: a refresh goes on by one step each time
that it is described, so that every caller sees every state once. All instances
are replaced in the last one.
"""

import threading
import uuid
from datetime import datetime, timezone

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import InstanceState
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.responses import ActionResult

_lock = threading.Lock()
# How the next refresh of a group goes, by the group's name.
_plans = {}


def plan(group, refresh="works", rollback="works", start="answered"):
    """Decides how a group's next refresh goes: it works, fails, hangs or breaches an
    alarm; how a rollback of it goes: it works, fails or hangs; and whether its start is
    answered, refused, or done without an answer."""
    _plans[group] = (refresh, rollback, start)


class InstanceRefreshInProgress(AutoscalingClientError):
    code = "InstanceRefreshInProgressFault"
    message = "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh."


class ActiveInstanceRefreshNotFound(AutoscalingClientError):
    code = "ActiveInstanceRefreshNotFoundFault"
    message = "No in progress or pending Instance Refresh found."


class ResourceContention(AutoscalingClientError):
    """A failure of AWS's own, with status 500, that clients call again after."""

    code = "ResourceContentionFault"
    message = "You already have a pending update to an Amazon EC2 Auto Scaling resource."


class Refresh:
    def __init__(self, group, desired, preferences, refresh, rollback):
        self._group = group
        self._plan, self._rollback_plan = refresh, rollback
        self._alarms = preferences.get("AlarmSpecification", {}).get("Alarms", [])
        self._steps = self._roll(desired["LaunchTemplate"])
        self.description = {
            "InstanceRefreshId": str(uuid.uuid4()),
            "AutoScalingGroupName": group.name,
            "Status": "Pending",
            "StartTime": datetime.now(timezone.utc),
            "PercentageComplete": 0,
            "Preferences": preferences,
            "DesiredConfiguration": desired,
        }

    def advance(self):
        """Takes the next step, if there is one."""
        status, percent, reason = next(self._steps, (None, None, None))
        if status:
            self.description |= {"Status": status, "PercentageComplete": percent}
        if reason:
            self.description["StatusReason"] = reason

    def cancel(self):
        self._steps = iter([("Cancelled", 0, None)])
        self.description |= {"Status": "Cancelling", "StatusReason": "Cancelled by user"}

    def roll_back(self, reason):
        self._steps = self._undo(self.description["DesiredConfiguration"]["LaunchTemplate"], reason)
        self.advance()

    def is_active(self):
        return self.description["Status"] in ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")

    def _roll(self, wanted):
        if alarm := find_alarm(self._group, self._alarms):
            yield from self._undo(wanted, f"The CloudWatch alarm {alarm} is in ALARM state.")
            return
        for percent in (0, 25, 50, 75):
            yield "InProgress", percent, "Waiting for instances to warm up."
        while self._plan == "hangs":
            yield "InProgress", 75, None
        if self._plan == "fails":
            yield from self._undo(wanted, "Instance i-0 failed ELB health checks.")
            return
        yield "Baking", 100, None
        if self._plan == "alarms":
            yield from self._undo(wanted, f"The CloudWatch alarm {self._alarms[0]} went into ALARM state.")
            return
        replace_instances(self._group, wanted)
        yield "Successful", 100, None

    def _undo(self, wanted, reason):
        yield "RollbackInProgress", 50, reason
        while self._rollback_plan == "hangs":
            yield "RollbackInProgress", 50, None
        if self._rollback_plan == "fails":
            # One instance stays new, and the group stays of the version before.
            before = {"LaunchTemplateId": wanted["LaunchTemplateId"], "Version": self._group.launch_template_version}
            replace_instances(self._group, wanted, 1)
            self._group._set_launch_configuration("", before, None)
            yield "RollbackFailed", 0, None
        yield "RollbackSuccessful", 0, None


def find_alarm(group, names):
    """One of these alarms that is in ALARM."""
    alarms = cloudwatch_backends[group.autoscaling_backend.account_id][group.autoscaling_backend.region_name].alarms
    return next((name for name in names if name in alarms and alarms[name].state_value == "ALARM"), None)


def replace_instances(group, specification, count=None):
    old = list(group.instance_states)[:count]
    ids = [state.instance_id for state in old]
    group._set_launch_configuration("", specification, None)
    if old:
        group.replace_autoscaling_group_instances(len(old), group.get_propagated_tags())
        group.autoscaling_backend.update_attached_target_groups(group.name)
        group.instance_states = [state for state in group.instance_states if state not in old]
        for arn in group.target_group_arns:
            group.autoscaling_backend.elbv2_backend.deregister_targets(arn, [{"Id": id} for id in ids])
        group.ec2_backend.terminate_instances(ids)


class Actions:
    """The actions of the API, as moto names them."""

    def start_instance_refresh(self):
        group, params = find_group(self), self._get_params()
        desired, preferences = params.get("DesiredConfiguration"), params.get("Preferences") or {}
        check(group, desired, preferences)
        with _lock:
            if any(refresh.is_active() for refresh in refreshes_of(group)):
                raise InstanceRefreshInProgress()
            *plans, start = _plans.pop(group.name, ("works", "works", "answered"))
            if start == "refused":
                raise ValidationError("This refresh is refused.")
            refresh = Refresh(group, desired, preferences, *plans)
            refreshes_of(group).insert(0, refresh)
        if start == "unanswered":
            raise ResourceContention()
        return ActionResult({"InstanceRefreshId": refresh.description["InstanceRefreshId"]})

    def describe_instance_refreshes(self):
        with _lock:
            refreshes = refreshes_of(find_group(self))
            answer = {"InstanceRefreshes": [dict(refresh.description) for refresh in refreshes]}
            for refresh in refreshes[:1]:
                refresh.advance()
            return ActionResult(answer)

    def cancel_instance_refresh(self):
        with _lock:
            refreshes_of(find_group(self))[0].cancel()
        return ActionResult({})

    def rollback_instance_refresh(self):
        with _lock:
            [refresh] = refreshes_of(find_group(self))[:1] or [None]
            if not (refresh and refresh.is_active()):
                raise ActiveInstanceRefreshNotFound()
            refresh.roll_back("A manual rollback was started.")
        return ActionResult({})


def find_group(response):
    name = response._get_param("AutoScalingGroupName")
    groups = response.autoscaling_backend.autoscaling_groups
    if name not in groups:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return groups[name]


def refreshes_of(group):
    """The refreshes of a group, newest first."""
    return vars(group).setdefault("instance_refreshes", [])


def check(group, desired, preferences):
    """Refuses what AWS refuses, and a refresh that AWS could not roll back."""
    minimum = preferences.get("MinHealthyPercentage", 90)
    maximum = preferences.get("MaxHealthyPercentage", 100)
    if not 0 <= minimum <= 100 <= maximum <= 200 or maximum - minimum > 100:
        raise ValidationError("The healthy percentages are out of range.")
    if not 0 <= preferences.get("BakeTime", 0) <= 172800:
        raise ValidationError("The bake time is out of range.")
    if not (preferences.get("AutoRollback") and desired and str(group.launch_template_version).isdigit()):
        raise ValidationError("A rollback needs a desired configuration, and a number for the version before it.")
    wanted = desired["LaunchTemplate"]
    # Both raise the error of EC2 if there is none.
    group.ec2_backend.get_launch_template(wanted["LaunchTemplateId"]).get_version(wanted["Version"])


def extend_moto():
    for name, action in vars(Actions).items():
        if not name.startswith("_"):
            setattr(AutoScalingResponse, name, action)

    # Moto says that every instance is of the template's default version.
    make = InstanceState.__init__

    def remember(state, *arguments, **named):
        make(state, *arguments, **named)
        group = state.auto_scaling_group
        if group.ec2_launch_template:
            version = group.ec2_launch_template.get_version(group.launch_template_version)
            state.launched = {
                "LaunchTemplateId": group.ec2_launch_template.id,
                "LaunchTemplateName": group.ec2_launch_template.name,
                "Version": str(version.number),
            }

    InstanceState.__init__ = remember
    InstanceState.launch_template = property(lambda state: getattr(state, "launched", None))
