"""What a request to AWS says: of which service, which action, and with which parameters."""

import re

from botocore.model import OperationNotFoundError
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model

# What boto3 calls services that sign their requests by another name.
CLIENTS = {
    "elasticfilesystem": "efs",
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
}

SCOPE = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class Call:
    def __init__(self, environ):
        request = Request(environ)
        self.key, self.region, self.service = SCOPE.search(request.headers["Authorization"]).groups()
        model = get_service_model(CLIENTS.get(self.service, self.service))
        self.operation, labels = find_operation(model, request)
        parser = PROTOCOL_PARSERS[determine_request_protocol(model, request.content_type)]
        self.parameters = parser(model.operation_model(self.operation)).parse({
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.data,
            "url_path": request.path,
            "url_params": labels,
        })

    def __str__(self):
        return f"{self.service}:{self.operation} {self.parameters}"


def find_operation(model, request):
    action = request.values.get("Action") or request.headers.get("X-Amz-Target", "").split(".")[-1]
    if action:
        return action, {}
    operation, labels = get_service_router(model.service_name).match(request)
    return operation.name, labels
