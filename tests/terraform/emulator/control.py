"""What a test says to the emulator itself, and hears from it.

POST /emulator/next-refresh {group, refresh, rollback}   how the group's next one goes
POST /emulator/fault {group, action, code, after, times} its calls that fail, once some have not
POST /emulator/no-faults {group}                         none do any more
POST /emulator/aws {region, action, parameters}          has AWS do what a boto3 client would ask for
GET  /emulator/calls?group=NAME                          the calls that named it and did not fail so
"""

import functools
import io
import json
import threading
from urllib.parse import parse_qs, parse_qsl

import boto3
import refreshes

FAULTS = {
    "ExpiredToken": ("403 Forbidden", "The security token included in the request is expired"),
    "Throttling": ("400 Bad Request", "Rate exceeded"),
}

_making = threading.Lock()


class Control:
    """Stands before moto: notes the calls to Auto Scaling, and answers some itself."""

    def __init__(self, moto):
        self._moto = moto
        self._lock = threading.Lock()
        self._calls = []
        self._faults = []

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/emulator/"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            url = f"http://127.0.0.1:{environ['SERVER_PORT']}"
            answer = self._answer(path, json.loads(body or "{}"), environ["QUERY_STRING"], url)
            answer = json.dumps(answer, default=str).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
            start_response("200 OK", headers)
            return [answer]
        call = read_form(environ)
        if code := self._fault_of(call):
            status, message = FAULTS[code]
            start_response(status, [("Content-Type", "text/xml")])
            error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            return [f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>".encode()]
        return self._moto(environ, start_response)

    def _answer(self, path, body, query, url):
        if path == "/emulator/aws":
            # It comes back as a request of its own.
            return call_aws(url, **body)
        with self._lock:
            match path.removeprefix("/emulator/"):
                case "next-refresh":
                    refreshes.plan(**body)
                case "fault":
                    self._faults.append(body)
                case "no-faults":
                    self._faults = [fault for fault in self._faults if fault["group"] != body["group"]]
                case "calls":
                    [group] = parse_qs(query)["group"]
                    return [call for call in self._calls if group_of(call) == group]

    def _fault_of(self, call):
        """Notes a call, and gives the code that it fails with, if it does."""
        if not group_of(call):
            return None
        with self._lock:
            for fault in self._faults:
                if (group_of(call), call["Action"]) != (fault["group"], fault["action"]):
                    continue
                if fault["after"] > 0:
                    fault["after"] -= 1
                elif fault["times"] > 0:
                    fault["times"] -= 1
                    return fault["code"]
            self._calls.append(call)
            return None


def call_aws(url, region, action, parameters):
    service, action = action.split(".")
    # Boto3 makes one client at a time.
    with _making:
        client = make_client(url, region, service)
    if client.can_paginate(action):
        return client.get_paginator(action).paginate(**parameters).build_full_result()
    answer = getattr(client, action)(**parameters)
    del answer["ResponseMetadata"]
    return answer


@functools.cache
def make_client(url, region, service):
    return boto3.client(
        service, region_name=region, endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="x"
    )


def group_of(call):
    """The Auto Scaling group that a call names."""
    return call.get("AutoScalingGroupName") or call.get("AutoScalingGroupNames.member.1")


def read_form(environ):
    """The parameters of a call by form, which moto then reads as well."""
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return dict(parse_qsl(body.decode()))
