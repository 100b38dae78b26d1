"""Deletion protection of load balancers, which moto stores and does not enforce.

After the API reference of Elastic Load Balancing, DeleteLoadBalancer.
"""

from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend

from gaps import around


class OperationNotPermitted(ELBClientError):
    code = "OperationNotPermitted"


def delete_load_balancer(method, backend, arn):
    balancer = backend.load_balancers.get(arn)
    if balancer and balancer.attrs.get("deletion_protection.enabled") == "true":
        raise OperationNotPermitted(
            f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        )
    return method(arn)


def extend_moto():
    around(ELBv2Backend, "delete_load_balancer", delete_load_balancer)
