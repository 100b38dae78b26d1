"""What moto keeps although it was deleted, so that it could not be made once more."""

from moto.backup.models import BackupBackend
from moto.route53.models import FakeZone

from gaps import around


def delete_backup_plan(method, backend, backup_plan_id):
    answer = method(backup_plan_id)
    del backend.plans[backup_plan_id]
    return answer


def delete_rrset(method, zone, rrset):
    method(rrset)
    # It takes a change that it has seen before for a record that is there.
    deleted = rrset["Name"].strip("."), rrset["Type"]
    zone.rr_changes[:] = [change for change in zone.rr_changes if key_of(change) != deleted]


def key_of(change):
    return change["ResourceRecordSet"]["Name"], change["ResourceRecordSet"]["Type"]


def extend_moto():
    around(BackupBackend, "delete_backup_plan", delete_backup_plan)
    around(FakeZone, "delete_rrset", delete_rrset)
