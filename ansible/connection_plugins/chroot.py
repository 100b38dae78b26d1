"""Runs modules in a root folder of this machine, which is the name of the host.

Ansible has this only in its largest collection, of which nothing else is used here.
"""

import subprocess
from pathlib import Path
from shlex import quote

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: chroot
short_description: Runs modules in a root folder of this machine
description: Uses chroot, so it needs root. The name of the host is the folder.
"""


class Connection(ConnectionBase):
    transport = "chroot"
    has_pipelining = True
    # Nothing need be done to become root.
    default_user = "root"

    def _connect(self):
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        command = ["chroot", self._play_context.remote_addr, "/bin/sh", "-c", cmd]
        result = subprocess.run(command, input=in_data, capture_output=True, check=False)
        return result.returncode, result.stdout, result.stderr

    def put_file(self, in_path, out_path):
        self._run(f"cat >{quote(out_path)}", Path(in_path).read_bytes())

    def fetch_file(self, in_path, out_path):
        Path(out_path).write_bytes(self._run(f"cat {quote(in_path)}"))

    def close(self):
        pass

    def _run(self, command, in_data=None):
        code, output, error = self.exec_command(command, in_data)
        if code != 0:
            raise AnsibleError(f"{command}: {error.decode(errors='replace')}")
        return output
