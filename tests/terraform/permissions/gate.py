"""Stands before an emulated AWS and lets a role do what its policies allow, as AWS would.

Finds the emulator by AWS_ENDPOINT_URL, prints the port that it listens on, and ends when
its standard input does. Requests with the keys of no role pass: they are an administrator's.
GET /gate/refused gives what was refused so far, and GET /gate/allowed which actions were not.
"""

import functools
import http.client
import io
import json
import os
import sys
import threading
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import boto3
from account import read_role
from asked import requests_of, tags
from calls import Call
from policies import ALLOWED
from werkzeug.serving import WSGIRequestHandler, make_server

# Headers of one connection.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Gate:
    def __init__(self, url):
        self._host = urlsplit(url).netloc
        self._world = World()
        self._refused, self._allowed = [], set()

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith("/gate/"):
            answer = {"refused": self._refused, "allowed": sorted(self._allowed)}[environ["PATH_INFO"][6:]]
            return respond(start_response, 200, json.dumps(answer), "application/json")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        call = Call(environ)
        refusal = self._refuse(call)
        if refusal:
            self._refused.append(refusal)
            print(f"refused: {refusal}", file=sys.stderr)
            return refuse(start_response, environ, call, refusal)
        return self._forward(environ, body, start_response)

    def _refuse(self, call):
        """Why a call is refused, if it is."""
        role = self._world.role(call.key)
        if not role:
            return None
        try:
            requests = requests_of(call, self._world)
            outcomes = [(request, role.judge(request)) for request in requests]
        except LookupError as error:
            return f"{call}: {error}"
        for request, outcome in outcomes:
            if outcome != ALLOWED:
                return f"{request.action} on {request.resource} is {outcome}: {request.context()}"
        self._allowed |= {request.action for request in requests}
        return None

    def _forward(self, environ, body, start_response):
        connection = http.client.HTTPConnection(self._host, timeout=600)
        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers["Content-Type"] = environ.get("CONTENT_TYPE", "")
        connection.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        start_response(f"{answer.status} {answer.reason}", kept)
        connection.close()
        return [content]


def refuse(start_response, environ, call, reason):
    """As AWS does, in the form that the caller reads."""
    kind = environ.get("CONTENT_TYPE", "")
    if "json" in kind:
        body = json.dumps({"__type": "AccessDeniedException", "message": reason})
        return respond(start_response, 400, body, kind)
    error = f"<Message>{escape(reason)}</Message>"
    if call.service == "ec2":
        error = f"<Errors><Error><Code>UnauthorizedOperation</Code>{error}</Error></Errors>"
        return respond(start_response, 403, f"<Response>{error}<RequestID>0</RequestID></Response>", "text/xml")
    error = f"<Error><Type>Sender</Type><Code>AccessDenied</Code>{error}</Error>"
    return respond(start_response, 403, f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>", "text/xml")


def respond(start_response, status, body, kind):
    body = body.encode()
    start_response(f"{status} -", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


class World:
    """What AWS knows when it judges a request. Tags are asked for at each one."""

    def __init__(self):
        self._lock = threading.Lock()
        self._roles = {}

    @functools.cache
    def _client(self, service, region="eu-central-1", **keys):
        with self._lock:
            return boto3.client(service, region_name=region, **(keys or ADMINISTRATOR))

    def role(self, key):
        """The role whose session a key is of."""
        if key == ADMINISTRATOR["aws_access_key_id"]:
            return None
        if key not in self._roles:
            sts = self._client("sts", aws_access_key_id=key, aws_secret_access_key="x")
            name = sts.get_caller_identity()["Arn"].split("/")[-2]
            self._roles[key] = read_role(self._client("iam"), name)
        return self._roles[key]

    def boundary(self, role):
        found = self._client("iam").get_role(RoleName=role)["Role"]
        return found.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")

    def role_of_profile(self, arn):
        profile = self._client("iam").get_instance_profile(InstanceProfileName=arn.rpartition("/")[2])
        return profile["InstanceProfile"]["Roles"][0]["Arn"]

    def launch_template(self, template, region):
        found = self._client("ec2", region).describe_launch_template_versions(
            LaunchTemplateId=template["LaunchTemplateId"], Versions=[str(template["Version"])]
        )
        return found["LaunchTemplateVersions"][0]["LaunchTemplateData"]

    def tags(self, service, resource, region="eu-central-1"):
        region = resource.split(":")[3] if resource.startswith("arn:") else region
        client = self._client(service, region)
        match service:
            case "acm":
                found = client.list_tags_for_certificate(CertificateArn=resource)["Tags"]
            case "backup":
                found = client.list_tags(ResourceArn=resource)["Tags"]
            case "cognito-idp":
                pool = client.describe_user_pool(UserPoolId=resource.rpartition("/")[2])
                found = pool["UserPool"].get("UserPoolTags")
            case "ec2":
                found = client.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource]}])["Tags"]
            case "efs":
                found = client.list_tags_for_resource(ResourceId=resource)["Tags"]
            case "kms":
                found = client.list_resource_tags(KeyId=resource)["Tags"]
            case "secretsmanager":
                return self._tags_of_secret(resource, region)
        return tags(found)

    def _tags_of_secret(self, arn, region):
        """RDS names the cluster on the secret of its master user."""
        clusters = self._client("rds", region).describe_db_clusters()["DBClusters"]
        owners = [one["DBClusterArn"] for one in clusters if one.get("MasterUserSecret", {}).get("SecretArn") == arn]
        return {"aws:rds:primaryDBClusterArn": owners[0]} if owners else {}


ADMINISTRATOR = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}


class Handler(WSGIRequestHandler):
    def log_request(self, code="-", size="-"):
        pass


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, Gate(os.environ["AWS_ENDPOINT_URL"]), threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
