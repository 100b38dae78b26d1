"""What moto lacks of launch templates: deleting versions, and listing more than 15 of them.

After the API reference of Amazon EC2, DeleteLaunchTemplateVersions. The number of a version
that was deleted is not given again.
"""

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidLaunchTemplateVersionNotFound
from moto.ec2.models import EC2Backend
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.responses.launch_templates import LaunchTemplates

from gaps import around

# AWS's limit on the versions of a template.
VERSIONS_MAX = 10_000


def delete_launch_template_versions(response):
    template = response.ec2_backend.get_launch_template(response._get_param("LaunchTemplateId"))
    deleted, kept = [], []
    for number in response._get_param("Versions"):
        version = template.get_version(number)
        item = {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "VersionNumber": version.number,
        }
        if template.is_default(version):
            error = {"Code": "launchTemplateVersionDoesNotExist", "Message": "It is the default version."}
            kept.append({**item, "ResponseError": error})
        else:
            version.is_deleted = True
            deleted.append(item)
    return ActionResult(
        {"SuccessfullyDeletedLaunchTemplateVersions": deleted, "UnsuccessfullyDeletedLaunchTemplateVersions": kept}
    )


def describe_versions(method, backend, **named):
    found = method(**{**named, "max_results": VERSIONS_MAX})
    return [(template, version) for template, version in found if not is_deleted(version)]


def get_version(method, template, number):
    version = method(number)
    if is_deleted(version):
        raise InvalidLaunchTemplateVersionNotFound(template_id=template.id, version=number)
    return version


def is_deleted(version):
    return getattr(version, "is_deleted", False)


def extend_moto():
    LaunchTemplates.delete_launch_template_versions = delete_launch_template_versions
    around(EC2Backend, "describe_launch_template_versions", describe_versions)
    around(LaunchTemplate, "get_version", get_version)
