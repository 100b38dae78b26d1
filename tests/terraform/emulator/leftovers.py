"""What moto keeps although it was deleted, so that it could not be made once more."""

from moto.backup.models import BackupBackend
from moto.route53.models import FakeZone

from gaps import around


def delete_backup_plan(method, backend, backup_plan_id):
    answer = method(backup_plan_id)
    del backend.plans[backup_plan_id]
    return answer


def delete_rrset(method, zone, rrset):
    # Names are the same with and without the dot at their end.
    method({**rrset, "Name": rrset["Name"].rstrip(".") + "."})


def extend_moto():
    around(BackupBackend, "delete_backup_plan", delete_backup_plan)
    around(FakeZone, "delete_rrset", delete_rrset)
