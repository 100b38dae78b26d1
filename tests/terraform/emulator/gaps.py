"""What moto takes and forgets, so that a second plan would find it missing.

Each is what AWS answers to the same request.
"""

import functools
import json
from urllib.parse import unquote

from moto.autoscaling.models import FakeScalingPolicy
from moto.autoscaling.responses import AutoScalingResponse
from moto.backup.responses import BackupResponse
from moto.ec2.models import EC2Backend
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.utils import parse_user_data
from moto.efs.responses import EFSResponse
from moto.rds.models import DBInstance, DBParameterGroup


def extend_moto():
    around(AutoScalingResponse, "create_auto_scaling_group", keep_group_settings)
    around(AutoScalingResponse, "update_auto_scaling_group", keep_group_settings)
    around(FakeScalingPolicy, "__init__", enable_policy)
    around(EC2Backend, "create_launch_template", leave_own_tags_out_of_versions)
    around(LaunchTemplate, "create_version", read_user_data)
    around(SecurityGroupRule, "__init__", keep_description_of_prefix_list)
    around(DBInstance, "__init__", keep_performance_insights)
    around(DBParameterGroup, "update_parameters", name_source_of_parameters)
    SecurityGroupRule.description = property(describe_rule)
    DBInstance.performance_insights_enabled = property(lambda database: database.enable_performance_insights)
    EFSResponse.delete_file_system_policy = delete_file_system_policy
    BackupResponse.list_tags = list_tags_of_backup


def around(owner, name, extension):
    """Calls `extension` in place of a method, with the method before its arguments."""
    method = getattr(owner, name)
    setattr(owner, name, functools.wraps(method)(functools.partialmethod(extend, extension, method)))


def extend(self, extension, method, *arguments, **named):
    return extension(functools.partial(method, self), self, *arguments, **named)


def keep_group_settings(method, response):
    result = method()
    params = response._get_params()
    group = response.autoscaling_backend.autoscaling_groups[params["AutoScalingGroupName"]]
    for name, attribute in [
        ("DefaultInstanceWarmup", "default_instance_warmup"),
        ("InstanceMaintenancePolicy", "instance_maintenance_policy"),
    ]:
        if name in params:
            setattr(group, attribute, params[name])
    return result


def enable_policy(method, policy, *arguments, **named):
    method(*arguments, **named)
    policy.enabled = True
    policy.predictive_scaling_configuration = policy.predictive_scaling_configuration or None


def leave_own_tags_out_of_versions(method, backend, name, description, data, tags):
    specifications = data.get("TagSpecifications", [])
    specifications = [one for one in specifications if one["ResourceType"] != "launch-template"]
    # None at all are left out, as an empty list would be found to differ from none.
    data.pop("TagSpecifications", None)
    data.update({"TagSpecifications": specifications} if specifications else {})
    return method(name, description, data, tags)


def read_user_data(method, template, data, description):
    # Moto does so for a template's first version alone.
    if isinstance(data.get("UserData"), str):
        data["UserData"] = parse_user_data(data["UserData"])
    return method(data, description)


def keep_description_of_prefix_list(method, rule, *arguments, **named):
    method(*arguments, **named)
    prefix_list = named.get("prefix_list_id") or (arguments[7] if len(arguments) > 7 else None)
    rule.prefix_list_description = (prefix_list or {}).get("Description")


def describe_rule(rule):
    sources = [rule.ip_range, rule.source_group]
    return next((one["Description"] for one in sources if one.get("Description")), rule.prefix_list_description)


def keep_performance_insights(method, database, *arguments, **named):
    method(*arguments, **named)
    database.enable_performance_insights = named.get("enable_performance_insights", False)
    database.performance_insights_kms_key_id = named.get("performance_insights_kms_key_id")
    database.performance_insights_retention_period = named.get("performance_insights_retention_period")


def name_source_of_parameters(method, group, parameters):
    method([{**parameter, "Source": "user"} for parameter in parameters])


def list_tags_of_backup(response):
    # Not every client ends the path in a slash.
    arn = unquote(response.path.split("/tags/")[1].rstrip("/"))
    return json.dumps({"Tags": response.backup_backend.list_tags(arn)})


def delete_file_system_policy(response):
    id = response._get_param("FileSystemId")
    response.efs_backend.file_systems_by_id[id].file_system_policy = None
    return "{}", {"status": 204, "Content-Type": "application/json"}
