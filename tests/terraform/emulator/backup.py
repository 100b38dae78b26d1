"""Selections of AWS Backup, which moto lacks: what a plan backs up.

After the developer guide's API reference of AWS Backup.
"""

import json
import uuid

from moto.backup.exceptions import ResourceNotFoundException
from moto.backup.responses import BackupResponse
from moto.core.utils import unix_time


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
        selection = find_selection(self)
        del selections_of(find_plan(self))[selection["SelectionId"]]
        return ""

    def list_backup_selections(self):
        selections = selections_of(find_plan(self)).values()
        return json.dumps({
            "BackupSelectionsList": [
                {
                    "SelectionId": selection["SelectionId"],
                    "BackupPlanId": selection["BackupPlanId"],
                    "CreationDate": selection["CreationDate"],
                    "SelectionName": selection["BackupSelection"]["SelectionName"],
                    "IamRoleArn": selection["BackupSelection"]["IamRoleArn"],
                }
                for selection in selections
            ]
        })


def find_plan(response):
    """The plan in a path such as /backup/plans/ID/selections/ID."""
    return response.backup_backend.get_backup_plan(response.path.split("/")[3], None)


def find_selection(response):
    plan, id = find_plan(response), response.path.split("/")[5]
    if id not in selections_of(plan):
        raise ResourceNotFoundException(msg=f"Cannot find Backup selection {id}")
    return selections_of(plan)[id]


def selections_of(plan):
    if not hasattr(plan, "selections"):
        plan.selections = {}
    return plan.selections


def extend_moto():
    for name, action in vars(Actions).items():
        if not name.startswith("_"):
            setattr(BackupResponse, name, action)
