"""What moto lacks for restoring: Aurora clusters as AWS makes them of a snapshot or of a
cluster as it was, and instances as Systems Manager knows them.

After the API references of Amazon RDS and AWS Systems Manager. There is no clock: what
takes AWS a while is so until it has been described or refused once.
"""

import copy
import json
from datetime import datetime, timedelta, timezone

from moto.core.exceptions import JsonRESTError
from moto.ec2.exceptions import InvalidParameterCombination as InvalidCombination
from moto.ec2.models import ec2_backends
from moto.ec2.responses.instances import InstanceResponse
from moto.rds.exceptions import (
    DBClusterSnapshotNotFoundError,
    InvalidDBClusterStateFault,
    InvalidParameterCombination,
    InvalidParameterValue,
)
from moto.rds.models import DBCluster, DBClusterParameterGroup, RDSBackend
from moto.ssm.models import Command
from moto.ssm.responses import SimpleSystemManagerResponse

from gaps import around

# What a restored cluster has of the one that it is made of.
KEPT = ["engine", "master_username", "database_name", "port", "storage_encrypted", "kms_key_id"]


def extend_moto():
    RDSBackend.restore_db_cluster_from_snapshot = restore_from_snapshot
    RDSBackend.restore_db_cluster_to_point_in_time = restore_to_point_in_time
    around(RDSBackend, "create_db_instance", want_available_cluster)
    around(RDSBackend, "modify_db_cluster", change_password)
    around(RDSBackend, "delete_db_cluster", refuse_first)
    DBCluster.pending_modified_values = property(show_password_once)
    around(InstanceResponse, "run_instances", refuse_subnet_beside_interfaces)
    around(SimpleSystemManagerResponse, "send_command", want_known_instances)
    around(Command, "_get_instance_ids_from_targets", want_targets)
    SimpleSystemManagerResponse.describe_instance_information = describe_instance_information


def restore_from_snapshot(backend, arn, overrides):
    prefix = f"arn:aws:rds:{backend.region_name}:{backend.account_id}:cluster-snapshot:"
    snapshot = backend.cluster_snapshots.get(arn.removeprefix(prefix))
    if snapshot is None:
        raise DBClusterSnapshotNotFoundError(arn)
    # "If you don't specify an engine version, the default version for the database engine in
    # the AWS Region is used."
    version = overrides.get("engine_version") or DBCluster.default_engine_version(overrides["engine"])
    if version != snapshot.cluster.engine_version:
        raise InvalidParameterCombination(f"Cannot upgrade to {version}")
    return restore(backend, snapshot.cluster, {**overrides, "engine_version": version})


def restore_to_point_in_time(backend, source_db_cluster_identifier, restore_to_time, **overrides):
    [source] = backend.describe_db_clusters(source_db_cluster_identifier)
    now = datetime.now(timezone.utc)
    if isinstance(restore_to_time, str):
        restore_to_time = datetime.fromisoformat(restore_to_time)
    time = restore_to_time.replace(tzinfo=timezone.utc)
    if not now - timedelta(days=source.backup_retention_period) < time < now:
        raise InvalidParameterValue("The specified restore time is out of the restorable range.")
    return restore(backend, source, {**overrides, "engine_version": source.engine_version})


def restore(backend, source, overrides):
    group = overrides["db_cluster_parameter_group_name"]
    family = "aurora-postgresql" + overrides["engine_version"].split(".")[0]
    # AWS has a default group of each family.
    default = DBClusterParameterGroup(backend, f"default.{family}", "", family)
    backend.db_cluster_parameter_groups.setdefault(default.name, default)
    if backend.db_cluster_parameter_groups[group].db_parameter_group_family != family:
        raise InvalidParameterCombination(f"The parameter group {group} is not of the family {family}")
    if overrides["db_subnet_group_name"] not in backend.subnet_groups:
        raise InvalidParameterValue("The subnet group does not exist")
    # Its password is that of the snapshot, and in no secret.
    kept = {name: getattr(source, name) for name in KEPT}
    cluster = backend.create_db_cluster({**kept, "master_user_password": "of the snapshot", **overrides})
    # Moto's is available once its status has been read, which the answer does not count for.
    return copy.copy(cluster)


def want_available_cluster(method, backend, settings):
    cluster = backend.clusters.get(settings.get("db_cluster_identifier"))
    if cluster and cluster._status != "available":
        raise InvalidDBClusterStateFault("The DB cluster is not available.")
    return method(settings)


def change_password(method, backend, settings):
    password = settings.get("master_user_password")
    if password and not 8 <= len(password) <= 41:
        raise InvalidParameterValue("The parameter MasterUserPassword is not between 8 and 41 characters long.")
    cluster = method(settings)
    if password:
        backend.clusters[cluster.db_cluster_identifier].password_is_pending = True
    return cluster


def show_password_once(cluster):
    if vars(cluster).pop("password_is_pending", False):
        return {"MasterUserPassword": "****"}
    return None


def refuse_first(method, backend, cluster_identifier, snapshot_name=None):
    """Its instance, which is gone at once here, is in no deleting state at first."""
    cluster = backend.clusters.get(cluster_identifier)
    if cluster_identifier.startswith("restore-") and cluster and not vars(cluster).get("was_refused"):
        cluster.was_refused = True
        raise InvalidDBClusterStateFault(
            "Cluster cannot be deleted, it still contains DB instances in non-deleting state."
        )
    return method(cluster_identifier, snapshot_name)


def refuse_subnet_beside_interfaces(method, response):
    template = response._get_param("LaunchTemplate", {})
    if response._get_param("SubnetId") and template:
        data = response.ec2_backend._get_template_from_args(template).data
        if data.get("NetworkInterfaces"):
            raise InvalidCombination(
                "Network interfaces and an instance-level subnet ID may not be specified on the same request"
            )
    return method()


def describe_instance_information(response):
    [ids] = [one["Values"] for one in response._get_param("Filters") if one["Key"] == "InstanceIds"]
    known = [id for id in ids if is_known(response, id)]
    return json.dumps({"InstanceInformationList": [{"InstanceId": id, "PingStatus": "Online"} for id in known]})


def want_known_instances(method, response):
    for id in response._get_param("InstanceIds"):
        if not is_known(response, id):
            raise JsonRESTError("InvalidInstanceId", f"Instances [[{id}]] not in a valid state for account")
    return method()


def want_targets(method, command):
    """Moto takes no targets for all instances."""
    return method() if command.targets else []


def is_known(response, id):
    """Whether an instance has a role to report with, and has been asked for once."""
    ec2 = ec2_backends[response.current_account][response.region]
    instance = ec2.get_instance(id)
    tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
    template = ec2.get_launch_template(tags["aws:ec2launchtemplate:id"])
    profile = template.get_version(tags["aws:ec2launchtemplate:version"]).data.get("IamInstanceProfile")
    asked, instance.was_asked_for = vars(instance).get("was_asked_for", False), True
    grouped = "aws:autoscaling:groupName" in tags
    return instance.state == "running" and bool(profile) and (asked or grouped)
