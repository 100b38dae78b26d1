"""What the steps reach by HTTP: GitHub's API, web hooks, and the load balancers of the stacks.

  /api/…          GitHub's, of which there are environments and comments of pull requests
  /hook/NAME      takes what is sent to a chat
  http://…        as a proxy: the service behind the balancer of that name, or a failure if
                  its instances run an image that is told to be bad
"""

import json
import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from routes import ENVIRONMENTS, Answer, right_for


class Server:
    def __init__(self, world):
        self.world = world
        # What chats were sent, in order.
        self.messages: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []
        # The address of the service, and the commits whose images do not work.
        self.service: str | None = None
        self.bad: set[str] = set()
        self.bad_hosts: dict[str, bool] = {}
        handler = type("Handler", (Handler,), {"server_": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, method: str, path: str, token: str, body: bytes) -> Answer:
        if path.startswith("/hook/"):
            self.messages.append({"hook": path.removeprefix("/hook/"), **json.loads(body)})
            return 200, {}
        if path.startswith("/api/"):
            return self.api(method, path.removeprefix("/api"), token, json.loads(body or b"{}"))
        return 404, {"message": "Not Found"}

    def api(self, method: str, path: str, token: str, body: dict[str, Any]) -> Answer:
        permissions = self.world.permissions_of(token)
        if permissions is None:
            return 401, {"message": "Bad credentials"}
        name, wanted = right_for(method, path)
        if permissions.get(name) not in (wanted, "write"):
            return 403, {"message": "Resource not accessible by integration"}
        if found := ENVIRONMENTS.fullmatch(path):
            return self.environment(*found.groups())
        if method == "POST":
            self.comments.append({"id": len(self.comments) + 1, "body": body["body"], "user": {"type": "Bot"}})
            return 201, self.comments[-1]
        if method == "PATCH":
            comment = self.comments[int(path.rsplit("/", 1)[1]) - 1]
            comment["body"] = body["body"]
            return 200, comment
        return 200, self.comments

    def environment(self, name: str, policies: str | None) -> Answer:
        """After "REST API endpoints for deployment environments"."""
        environment = self.world.settings.get("environments", {}).get(name)
        if environment is None:
            return 404, {"message": "Not Found"}
        branches = environment.get("branches")
        if policies:
            return 200, {"branch_policies": [{"name": branch, "type": "branch"} for branch in branches or []]}
        rules: list[dict[str, Any]] = []
        if environment.get("reviewers"):
            people = [{"type": "Team", "reviewer": {"slug": team}} for team in environment["reviewers"]]
            rules.append({"type": "required_reviewers", "reviewers": people})
        if branches:
            rules.append({"type": "branch_policy"})
        policy = {"protected_branches": False, "custom_branch_policies": True} if branches else None
        return 200, {"name": name, "protection_rules": rules, "deployment_branch_policy": policy}

    def passed_on(self, method: str, url: str, headers: dict[str, str], body: bytes):
        """What the service says that a balancer stands for, or 503 if its image is bad."""
        host, path = re.fullmatch(r"http://([^/]+)(/.*)?", url).groups()
        # A smoke test begins there; what runs does not change while it asks.
        if path in (None, "/") or host not in self.bad_hosts:
            self.bad_hosts[host] = self.image_is_bad(host)
        if self.bad_hosts[host]:
            return 503, {"Content-Type": "text/plain"}, b"Service Unavailable"
        request = urllib.request.Request(f"{self.service}{path or '/'}", data=body or None, method=method)
        for name in ("Content-Type", "Accept"):
            if name in headers:
                request.add_header(name, headers[name])
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def image_is_bad(self, host: str) -> bool:
        """By the commit that is named on the image which the balancer's group runs."""
        account = self.world.account
        balancers = account.ask("elbv2.describe_load_balancers", {})["LoadBalancers"]
        [name] = [one["LoadBalancerName"] for one in balancers if one["DNSName"] == host]
        group = account.ask("autoscaling.describe_auto_scaling_groups", {"AutoScalingGroupNames": [name]})
        ids = [instance["InstanceId"] for instance in group["AutoScalingGroups"][0]["Instances"]]
        reservations = account.ask("ec2.describe_instances", {"InstanceIds": ids})["Reservations"]
        images = {instance["ImageId"] for one in reservations for instance in one["Instances"]}
        for image in account.ask("ec2.describe_images", {"ImageIds": sorted(images)})["Images"]:
            if {tag["Value"] for tag in image["Tags"] if tag["Key"] == "Commit"} & self.bad:
                return True
        return False


class Handler(BaseHTTPRequestHandler):
    server_: Server

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("http://"):
            status, headers, content = self.server_.passed_on(self.command, self.path, dict(self.headers), body)
        else:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            path = self.path.split("?")[0]
            status, answer = self.server_.answer(self.command, path, token, body)
            headers, content = {"Content-Type": "application/json"}, json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "date"):
                self.send_header(name, value)
        length = headers.get("content-length") if self.command == "HEAD" else None
        if status != 204:
            self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_HEAD = do_OPTIONS = do_DELETE = do_GET

    def log_message(self, *_):
        """Says nothing: standard error is the test's."""
