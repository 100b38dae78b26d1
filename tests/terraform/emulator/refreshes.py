"""Instance refreshes of Auto Scaling groups, which moto lacks.

After the API reference of Amazon EC2 Auto Scaling and its guide's "Undo changes with a
manual or auto rollback". There is no clock: a refresh goes on by one step each time
that it is described, so that whoever looks at it sees every state once.
"""

import threading
import uuid
from datetime import datetime, timezone

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import InstanceState
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.responses import ActionResult

_lock = threading.RLock()
# How the next refresh of a group goes, by the group's name.
_plans = {}


def plan(group, refresh="works", rollback="works"):
    """Decides how a group's next refresh goes: it works, fails, hangs or breaches an
    alarm; and how a rollback of it goes: it works, fails or hangs."""
    _plans[group] = (refresh, rollback)


class Failed(Exception):
    """Why a refresh or a rollback cannot go on."""


class Refresh:
    def __init__(self, group, desired, preferences):
        self._group = group
        self._desired = desired
        self._preferences = preferences
        self._before = specification_of(group)
        self._plan, self._rollback_plan = _plans.pop(group.name, ("works", "works"))
        self._course = self._roll()
        self._rollback = None
        self._starting = []
        self._replaced = []
        self.id = str(uuid.uuid4())
        self._start = now()
        self._end = None
        self._status = "Pending"
        self._reason = None
        self._total = len(self._to_replace())

    def is_active(self):
        return self._end is None

    def advance(self):
        """Takes the next step."""
        if not self.is_active():
            return
        try:
            self._look_at_alarms()
            next(self._course)
        except Failed as failed:
            self.roll_back(str(failed))
        except StopIteration:
            self._end = now()

    def cancel(self):
        self._terminate(self._starting)
        self._status = "Cancelling"
        self._course = self._finish("Cancelled", "Cancelled by user")

    def roll_back(self, reason):
        if self._status not in ("Pending", "InProgress", "Baking"):
            raise not_found(self._group.name)
        self._terminate(self._starting)
        self._rollback = {
            "RollbackReason": reason,
            "RollbackStartTime": now(),
            "PercentageCompleteOnRollback": self._percent(),
            "InstancesToUpdateOnRollback": self._total - len(self._replaced),
        }
        self._status, self._reason = "RollbackInProgress", reason
        self._course = self._undo()

    def describe(self):
        answer = {
            "InstanceRefreshId": self.id,
            "AutoScalingGroupName": self._group.name,
            "Status": self._status,
            "StatusReason": self._reason,
            "StartTime": self._start,
            "EndTime": self._end,
            "PercentageComplete": self._percent(),
            "InstancesToUpdate": self._remaining(),
            "Preferences": self._preferences,
            "DesiredConfiguration": self._desired,
            "RollbackDetails": self._rollback,
        }
        return {name: value for name, value in answer.items() if value is not None}

    # What a refresh does, from one step to the next.

    def _roll(self):
        self._status = "InProgress"
        yield
        while batch := self._next_batch(self._to_replace()):
            self._starting = self._launch(len(batch), self._wanted())
            self._reason = "Waiting for instances to warm up."
            yield
            if self._plan == "fails":
                raise Failed(f"Instance {self._starting[0].instance_id} failed ELB health checks.")
            while self._plan == "hangs":
                yield
            self._terminate(batch)
            self._replaced += self._starting
            self._starting = []
        self._reason = None
        if self._preferences.get("BakeTime"):
            self._status = "Baking"
            yield
        if self._plan == "alarms":
            self._breach()
            yield
        self._use(self._wanted())
        self._status = "Successful"

    def _undo(self):
        yield
        while self._rollback_plan == "hangs":
            yield
        if self._rollback_plan == "fails":
            self._status = "RollbackFailed"
            self._reason = "The rollback failed: instances failed ELB health checks."
            return
        remaining = list(self._replaced)
        while batch := self._next_batch(remaining):
            self._launch(len(batch), self._before)
            yield
            self._terminate(batch)
            remaining = remaining[len(batch):]
            self._replaced = remaining
        self._status = "RollbackSuccessful"

    def _finish(self, status, reason):
        yield
        self._status, self._reason = status, reason

    # Alarms

    def _alarms(self):
        alarms = cloudwatch_backends[self._group.account_id][self._group.region].alarms
        names = self._preferences.get("AlarmSpecification", {}).get("Alarms", [])
        return [alarms[name] for name in names if name in alarms]

    def _look_at_alarms(self):
        if self._status in ("Pending", "InProgress", "Baking"):
            for alarm in self._alarms():
                if alarm.state_value == "ALARM":
                    raise Failed(f"The CloudWatch alarm {alarm.name} went into ALARM state.")

    def _breach(self):
        self._alarms()[0].update_state("breached by the test", "{}", "ALARM")

    # The group

    def _wanted(self):
        return self._desired["LaunchTemplate"]

    def _outdated(self):
        wanted = self._wanted()
        template = self._group.ec2_backend.get_launch_template(wanted["LaunchTemplateId"])
        version = str(template.get_version(wanted["Version"]).number)
        return [state for state in self._group.instance_states if state.launch_template["Version"] != version]

    def _to_replace(self):
        states = self._outdated() if self._preferences.get("SkipMatching") else self._group.instance_states
        return [state for state in states if state not in self._replaced]

    def _next_batch(self, states):
        desired = self._group.desired_capacity
        beyond = self._preferences.get("MaxHealthyPercentage", 100) - 100
        return states[: max(1, desired * beyond // 100)]

    def _percent(self):
        return 100 * len(self._replaced) // self._total if self._total else 100

    def _remaining(self):
        if self._rollback:
            return self._rollback["InstancesToUpdateOnRollback"]
        return self._total - len(self._replaced)

    def _use(self, specification):
        self._group._set_launch_configuration("", specification, None)

    def _launch(self, count, specification):
        group = self._group
        saved, known = specification_of(group), set(group.instance_states)
        self._use(specification)
        group.replace_autoscaling_group_instances(count, group.get_propagated_tags())
        self._use(saved)
        group.autoscaling_backend.update_attached_target_groups(group.name)
        return [state for state in group.instance_states if state not in known]

    def _terminate(self, states):
        if not states:
            return
        group = self._group
        ids = [state.instance_id for state in states]
        for arn in group.target_group_arns:
            group.autoscaling_backend.elbv2_backend.deregister_targets(arn, [{"Id": id} for id in ids])
        group.instance_states = [state for state in group.instance_states if state not in states]
        group.ec2_backend.terminate_instances(ids)


# What is asked for

class Actions:
    """The actions of the API, as moto names them."""

    def start_instance_refresh(self):
        with _lock:
            group, params = find_group(self), self._get_params()
            desired, preferences = params.get("DesiredConfiguration"), params.get("Preferences") or {}
            check(group, desired, preferences)
            if any(refresh.is_active() for refresh in refreshes_of(group)):
                raise AutoscalingClientError(
                    "InstanceRefreshInProgress",
                    "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
                )
            refresh = Refresh(group, desired, preferences)
            refreshes_of(group).insert(0, refresh)
            return ActionResult({"InstanceRefreshId": refresh.id})

    def describe_instance_refreshes(self):
        with _lock:
            params = self._get_params()
            ids = params.get("InstanceRefreshIds")
            found = [refresh for refresh in refreshes_of(find_group(self)) if not ids or refresh.id in ids]
            answer = {"InstanceRefreshes": [refresh.describe() for refresh in found]}
            for refresh in found:
                refresh.advance()
            return ActionResult(answer)

    def cancel_instance_refresh(self):
        with _lock:
            refresh = active_refresh(find_group(self))
            refresh.cancel()
            return ActionResult({"InstanceRefreshId": refresh.id})

    def rollback_instance_refresh(self):
        with _lock:
            refresh = active_refresh(find_group(self))
            refresh.roll_back("A manual rollback was started.")
            return ActionResult({"InstanceRefreshId": refresh.id})


def find_group(response):
    name = response._get_param("AutoScalingGroupName")
    groups = response.autoscaling_backend.autoscaling_groups
    if name not in groups:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return groups[name]


def refreshes_of(group):
    """The refreshes of a group, newest first."""
    if not hasattr(group, "instance_refreshes"):
        group.instance_refreshes = []
    return group.instance_refreshes


def active_refresh(group):
    for refresh in refreshes_of(group):
        if refresh.is_active():
            return refresh
    raise not_found(group.name)


def not_found(group):
    return AutoscalingClientError(
        "ActiveInstanceRefreshNotFound",
        f"No in progress or pending Instance Refresh found for Auto Scaling group {group}",
    )


def check(group, desired, preferences):
    """Refuses what AWS refuses, and a refresh that AWS could not roll back."""
    minimum = preferences.get("MinHealthyPercentage", 90)
    maximum = preferences.get("MaxHealthyPercentage", 100)
    if not 0 <= minimum <= 100 <= maximum <= 200 or maximum - minimum > 100:
        raise ValidationError("The healthy percentages are out of range.")
    if not 0 <= preferences.get("BakeTime", 0) <= 172800:
        raise ValidationError("The bake time is out of range.")
    if not (preferences.get("AutoRollback") and desired and specification_of(group)["Version"].isdigit()):
        raise ValidationError("A rollback needs a desired configuration, and a number for the version before it.")
    wanted = desired["LaunchTemplate"]
    # Both raise the error of EC2 if there is none.
    template = group.ec2_backend.get_launch_template(wanted["LaunchTemplateId"])
    template.get_version(wanted["Version"])


def specification_of(group):
    """The launch template that a group has, if it has one."""
    if group.ec2_launch_template:
        return {"LaunchTemplateId": group.ec2_launch_template.id, "Version": group.launch_template_version}


def now():
    return datetime.now(timezone.utc)


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
