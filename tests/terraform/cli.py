"""The AWS CLI without its start: cli.py FOLDER puts an `aws` into FOLDER for as long as it runs.

Scripts under test call the CLI hundreds of times, and each time it reads 2,000 files before it
looks at its arguments. Here that is done once, and each call is a fork of what has read them, with
the caller's arguments, environment, folder, and standard input and outputs. Without this the same
tests call the same CLI, and take longer. Ends when the process that started it does.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from awscli import clidriver
# Which it imports at each start, as a plugin.
import awscli.handlers  # noqa: F401
import botocore.loaders
import botocore.session

# What the scripts call.
SERVICES = ["autoscaling", "backup", "cloudwatch", "ec2", "efs", "elbv2", "rds", "rds-data", "ssm", "sts"]

# How often it looks whether it is still wanted.
POLL_SECONDS = 2

# As quick to start as Python can be: without its site-packages and the user's settings.
CLIENT = """#!{python} -IS
import json, os, socket, sys
call = socket.socket(socket.AF_UNIX)
call.connect("{socket}")
what = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(call, [len(what).to_bytes(4, "big")], [0, 1, 2])
call.sendall(what)
# Nothing comes of a call that was killed.
os._exit((call.recv(1) or b"\\xff")[0])
"""


def read_models_once():
    """Makes all sessions share what is read of a service's model, and which services there are."""
    read, listed = {}, {}
    load_file = botocore.loaders.JSONFileLoader.load_file
    list_services = botocore.loaders.Loader.list_available_services

    def load_once(self, path):
        if path not in read:
            read[path] = load_file(self, path)
        return read[path]

    def list_once(self, type_name):
        folders = (type_name, *self.search_paths)
        if folders not in listed:
            listed[folders] = list_services(self, type_name)
        return listed[folders]

    botocore.loaders.JSONFileLoader.load_file = load_once
    botocore.loaders.Loader.list_available_services = list_once
    session = botocore.session.Session()
    for service in SERVICES:
        session.get_service_model(service)
        session.get_component("data_loader").load_service_model(service, "endpoint-rule-set-1")
    session.get_available_services()
    session.get_component("endpoint_resolver")


def answer(call):
    length, files, _, _ = socket.recv_fds(call, 4, 3)
    what = b""
    while len(what) < int.from_bytes(length, "big"):
        part = call.recv(1 << 16)
        if not part:
            # Killed while it called.
            return
        what += part
    arguments, environment, folder = json.loads(what)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    # Where the CLI found its own data when it was imported.
    data = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}
    os.environ.clear()
    os.environ.update(data | environment)
    os.chdir(folder)
    sys.argv = ["aws", *arguments]
    try:
        code = clidriver.main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    call.sendall(bytes([code or 0]))


def main():
    folder, parent = Path(sys.argv[1]), os.getppid()
    read_models_once()
    gc.freeze()
    # The kernel reaps the calls' processes: only their clients wait for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    listener.settimeout(POLL_SECONDS)
    client = folder / "aws"
    client.write_text(CLIENT.format(python=sys.executable, socket=folder / "socket"))
    client.chmod(0o755)
    while os.getppid() == parent:
        try:
            call, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            call.settimeout(None)
            try:
                answer(call)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        call.close()


if __name__ == "__main__":
    main()
