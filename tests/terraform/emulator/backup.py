"""What moto lacks of AWS Backup: selections of plans, recovery points, and the jobs that
make, copy and restore them.

After the developer guide's API reference of AWS Backup. There is no clock: a job goes
on by one step each time that it is described.
"""

import json
import uuid
from urllib.parse import unquote

from moto.backup import urls
from moto.backup.exceptions import ResourceNotFoundException
from moto.backup.models import backup_backends
from moto.backup.responses import BackupResponse
from moto.core.utils import unix_time
from moto.efs.models import efs_backends
from moto.rds.models import DBClusterSnapshot, rds_backends

BACKUP_STEPS = [("CREATED", 0), ("RUNNING", 40), ("COMPLETED", 100)]
RESTORE_STEPS = [("PENDING", 0), ("RUNNING", 50), ("COMPLETED", 100)]

PATHS = [
    "/backup-jobs$",
    "/backup-jobs/(?P<id>[^/]+)$",
    "/copy-jobs$",
    "/copy-jobs/(?P<id>[^/]+)$",
    "/restore-jobs$",
    "/restore-jobs/(?P<id>[^/]+)$",
    "/backup-vaults/(?P<name>[^/]+)/recovery-points/$",
    "/backup-vaults/(?P<name>[^/]+)/recovery-points/(?P<arn>.+)$",
]

_jobs = {}


class Actions:
    """The actions of the API, as moto names them."""

    def create_backup_selection(self):
        plan = find_plan(self)
        selection = {
            "BackupSelection": json.loads(self.body)["BackupSelection"],
            "SelectionId": str(uuid.uuid4()),
            "BackupPlanId": plan.backup_plan_id,
            "CreationDate": unix_time(),
        }
        selections_of(plan)[selection["SelectionId"]] = selection
        return json.dumps({name: selection[name] for name in ("SelectionId", "BackupPlanId", "CreationDate")})

    def get_backup_selection(self):
        return json.dumps(find_selection(self))

    def delete_backup_selection(self):
        del selections_of(find_plan(self))[find_selection(self)["SelectionId"]]
        return ""

    def start_backup_job(self):
        body, id = json.loads(self.body), str(uuid.uuid4())
        vault = self.backup_backend.describe_backup_vault(body["BackupVaultName"])
        point = back_up(body["ResourceArn"], id)
        points_of(vault).append({**point, "BackupVaultName": body["BackupVaultName"]})
        _jobs[id] = {"steps": list(BACKUP_STEPS), "RecoveryPointArn": point["RecoveryPointArn"]}
        return json.dumps({"BackupJobId": id, "CreationDate": unix_time()})

    def describe_backup_job(self):
        return json.dumps(describe_job(self, "BackupJobId", "State"))

    def start_copy_job(self):
        body, id = json.loads(self.body), str(uuid.uuid4())
        source = self.backup_backend.describe_backup_vault(body["SourceBackupVaultName"])
        point = find_point(points_of(source), body["RecoveryPointArn"])
        _, _, _, region, account, _, name = body["DestinationBackupVaultArn"].split(":")
        vault = backup_backends[account][region].describe_backup_vault(name)
        copied = {**point, "RecoveryPointArn": copy(point, region, id), "BackupVaultName": name}
        points_of(vault).append(copied)
        _jobs[id] = {"steps": list(BACKUP_STEPS), "DestinationRecoveryPointArn": copied["RecoveryPointArn"]}
        return json.dumps({"CopyJobId": id, "CreationDate": unix_time()})

    def describe_copy_job(self):
        return json.dumps({"CopyJob": describe_job(self, "CopyJobId", "State")})

    def start_restore_job(self):
        body, id = json.loads(self.body), str(uuid.uuid4())
        vaults = self.backup_backend.vaults.values()
        find_point([point for vault in vaults for point in points_of(vault)], body["RecoveryPointArn"])
        file_systems = efs_backends[self.current_account][self.region].file_systems_by_id
        if body["Metadata"]["file-system-id"] not in file_systems:
            raise ResourceNotFoundException(msg="The file system does not exist")
        _jobs[id] = {"steps": list(RESTORE_STEPS)}
        return json.dumps({"RestoreJobId": id})

    def describe_restore_job(self):
        return json.dumps(describe_job(self, "RestoreJobId", "Status"))

    def list_recovery_points_by_backup_vault(self):
        points, kind = points_of(find_vault(self)), self._get_param("resourceType")
        return json.dumps({"RecoveryPoints": [point for point in points if kind in (None, point["ResourceType"])]})

    def describe_recovery_point(self):
        arn = unquote(self.path.split("/recovery-points/")[1])
        return json.dumps(find_point(points_of(find_vault(self)), arn))

    def delete_recovery_point(self):
        points, arn = points_of(find_vault(self)), unquote(self.path.split("/recovery-points/")[1])
        points.remove(find_point(points, arn))
        return ""


def find_plan(response):
    """The plan in a path such as /backup/plans/ID/selections/ID."""
    return response.backup_backend.get_backup_plan(response.path.split("/")[3], None)


def find_selection(response):
    plan, id = find_plan(response), response.path.split("/")[5]
    if id not in selections_of(plan):
        raise ResourceNotFoundException(msg=f"Cannot find Backup selection {id}")
    return selections_of(plan)[id]


def selections_of(plan):
    return vars(plan).setdefault("selections", {})


def points_of(vault):
    return vars(vault).setdefault("points", [])


def back_up(arn, id):
    """Makes a recovery point of a file system or a cluster of databases."""
    _, _, service, region, account, resource = arn.split(":", 5)
    if service == "elasticfilesystem":
        kind, point = "EFS", f"arn:aws:backup:{region}:{account}:recovery-point:{id}"
    else:
        snapshot = f"awsbackup:job-{id}"
        kind, point = "Aurora", f"arn:aws:rds:{region}:{account}:cluster-snapshot:{snapshot}"
        cluster = resource.removeprefix("cluster:")
        rds_backends[account][region].create_db_cluster_snapshot(cluster, snapshot, "manual", [])
    return {
        "RecoveryPointArn": point,
        "ResourceArn": arn,
        "ResourceType": kind,
        "CreationDate": unix_time(),
        "Status": "COMPLETED",
    }


def copy(point, region, id):
    """Copies a recovery point into a region, and gives the ARN of the copy."""
    _, _, _, origin, account, resource = point["RecoveryPointArn"].split(":", 5)
    if point["ResourceType"] == "EFS":
        return f"arn:aws:backup:{region}:{account}:recovery-point:{id}"
    snapshot = rds_backends[account][origin].cluster_snapshots[resource.removeprefix("cluster-snapshot:")]
    backend, name = rds_backends[account][region], f"awsbackup:copyjob-{id}"
    backend.cluster_snapshots[name] = DBClusterSnapshot(backend, snapshot.cluster, name, tags=[])
    return f"arn:aws:rds:{region}:{account}:cluster-snapshot:{name}"


def find_vault(response):
    """The vault in a path such as /backup-vaults/NAME/recovery-points/ARN."""
    return response.backup_backend.describe_backup_vault(response.path.split("/")[2])


def find_point(points, arn):
    for point in points:
        if point["RecoveryPointArn"] == arn:
            return point
    raise ResourceNotFoundException(msg="Recovery point does not exist")


def describe_job(response, id_name, state_name):
    """The state of the job in a path such as /backup-jobs/ID, which then takes a step."""
    id = response.path.split("/")[2]
    if id not in _jobs:
        raise ResourceNotFoundException(msg=f"Cannot find job {id}")
    job = {**_jobs[id]}
    steps = job.pop("steps")
    state, percent = steps.pop(0) if len(steps) > 1 else steps[0]
    return {id_name: id, state_name: state, "PercentDone": f"{percent}.00", **job}


def extend_moto():
    for name, action in vars(Actions).items():
        if not name.startswith("_"):
            setattr(BackupResponse, name, action)
    for path in PATHS:
        urls.url_paths["{0}" + path] = urls.response.dispatch
