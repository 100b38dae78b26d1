"""What moto forgets of an image that is registered: its architecture and its tags.

After the API reference of Amazon EC2, RegisterImage. A bake takes minutes, so that no two
images are of the same second.
"""

import threading
from datetime import timedelta

from moto.core.responses import ActionResult
from moto.ec2.responses.amis import AmisResponse


_lock = threading.Lock()
_made = []


def register_image(response):
    image = response.ec2_backend.register_image(response._get_param("Name"), response._get_param("Description", ""))
    image.architecture = response._get_param("Architecture", "x86_64")
    image.virtualization_type = "hvm"
    image.root_device_name = response._get_param("RootDeviceName", "/dev/xvda")
    image.root_device_type = "ebs"
    with _lock:
        image.creation_date = max([image.creation_date, *(last + timedelta(seconds=1) for last in _made[-1:])])
        _made.append(image.creation_date)
    for specification in response._get_param("TagSpecifications", []) or response._get_param("TagSpecification", []):
        image.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
    return ActionResult({"ImageId": image.id})


def extend_moto():
    AmisResponse.register_image = register_image
