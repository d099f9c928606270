# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault tests and the soak share: a lab host, a change made on it, and what must be true in the end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import hardened
from lab import PREFIX

LAB = pathlib.Path(__file__).with_name("lab.py")
STATE = LAB.parents[2] / ".cache" / "lab"
KEYS = STATE / "keys"

# The account Ansible uses, and the files that the change is about
PREPARE = """
id automation >/dev/null 2>&1 || useradd --create-home --shell /bin/bash automation
install -d -m 0700 -o automation -g automation /home/automation/.ssh
install -m 0600 -o automation -g automation /dev/stdin /home/automation/.ssh/authorized_keys
echo 'automation ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/automation
echo old >/etc/fault.conf; chmod 0640 /etc/fault.conf; chown root:games /etc/fault.conf
echo same >/etc/fault-mode.conf; chmod 0666 /etc/fault-mode.conf
echo gone >/etc/fault-gone.conf
"""

MANIFEST = """
import hashlib, json, os, stat
found = {}
for root in ("/etc", "/root", "/home", "/var/spool"):
    for folder, folders, files in os.walk(root):
        if ".ansible" in folders:  # Ansible's own
            folders.remove(".ansible")
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            facts = [stat.filemode(info.st_mode), info.st_uid, info.st_gid]
            if stat.S_ISREG(info.st_mode):
                facts.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
            elif stat.S_ISLNK(info.st_mode):
                facts.append(os.readlink(path))
            found[path] = facts
for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"):  # podman's own
    found.pop(path, None)
print(json.dumps(found))
"""

JOURNAL = """
import json, os
found = {}
top = "/var/lib/rampart/changes"
for name in os.listdir(top) if os.path.isdir(top) else []:
    try:
        entry = json.load(open(f"{top}/{name}/change.json"))
    except OSError:
        entry = {}
    try:
        entry["state"] = open(f"{top}/{name}/state").read()
    except OSError:
        entry["state"] = "staged"
    found[name] = entry
print(json.dumps(found))
"""

# What of ours is still about: timers and units, a run that its controller left alone, temporary files
LEFT = """
pgrep -a -f '[B]ECOME-SUCCESS'
systemctl list-units --plain --no-legend 'rampart-revert*' 2>/dev/null
pgrep -a -f '[/]var/lib/rampart/transaction.py'
find /etc /root /home /var/spool -name '*.rampart-*'
ls -d /etc/systemd/system/rampart-revert* /etc/systemd/system/*/rampart-revert* 2>/dev/null
true
"""


def run(*argv, **options):
    return hardened.run(*argv, **{"timeout": 300, **options}).stdout


def lab(*argv, **options):
    return run(sys.executable, LAB, *argv, **options)


def until(what, condition, seconds=90.0, pause=0.1):
    """Wait for `condition` to return something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(pause)


class Play:
    """An ansible-playbook of its own process group, as a person at a terminal runs it."""

    def __init__(self, host, tasks, options=(), env=None):
        self.folder = tempfile.TemporaryDirectory(prefix="rampart-fault-")
        folder = pathlib.Path(self.folder.name)
        (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {host.name: host.variables}}}))
        (folder / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        self.said = (folder / "said").open("w+")
        # sockets of its own: a killed run leaves its connection open for a while
        self.mark = f"RAMPART_FAULT={self.folder.name}"
        env = os.environ | {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"), "ANSIBLE_NOCOLOR": "1"} | (env or {})
        env["RAMPART_FAULT"] = self.folder.name
        self.process = subprocess.Popen(
            ["ansible-playbook", "-i", str(folder / "inventory.json"), str(folder / "play.json"), *options],
            stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said, env=env, start_new_session=True,
        )  # fmt: skip

    def end(self, seconds=240):
        """What it said, once it has ended."""
        try:
            self.code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the run hangs; it said:\n{self.text()}") from None
        return self.text()

    def text(self):
        self.said.seek(0)
        return self.said.read()

    def kill(self):
        """As a controller dies: with all its workers, which are process groups of their own, and its connections."""
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that nobody sees another one die
            for pid in [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]:
                with contextlib.suppress(OSError):
                    if self.mark.encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                        os.kill(pid, number)
        self.code = self.process.wait()


class Host:
    """A lab host with a login of its own for every question: nothing here uses what is being tested."""

    def __init__(self, name, image, *podman):
        self.name, self.image, self.podman = name, image, podman
        self.create()

    def create(self):
        lab("host", "down", self.name, check=False)
        lab("host", "up", "--image", self.image, self.name, "--", *self.podman)
        inventory = json.loads((STATE / "hosts" / self.name / "inventory.yml").read_text())
        self.variables = inventory["all"]["children"]["jump"]["hosts"][self.name] | {
            "ansible_user": "automation",
            "ansible_ssh_private_key_file": str(KEYS / "automation"),
            "ansible_become": True,
            "ansible_pipelining": True,
        }
        self.address = self.variables["ansible_host"]
        self.sh(PREPARE, input=(KEYS / "automation.pub").read_text())
        self.sh("systemctl is-system-running --wait", check=False)  # it may be degraded
        self.clean = True

    def down(self):
        lab("host", "down", self.name)

    def sh(self, command, check=True, **options):
        interactive = ["--interactive"] if "input" in options else []
        return run("podman", "exec", *interactive, f"{PREFIX}-{self.name}", "sh", "-c", command, check=check, **options)

    def python(self, code):
        return run("podman", "exec", "--interactive", f"{PREFIX}-{self.name}", "python3", "-", input=code)

    def manifest(self):
        return json.loads(self.python(MANIFEST))

    def journal(self):
        return json.loads(self.python(JOURNAL))

    def pid(self):
        """The host's first process, as this machine sees it: the way in without asking anything on the host."""
        return run("podman", "inspect", "--format", "{{.State.Pid}}", f"{PREFIX}-{self.name}").strip()

    def processes(self, name):
        """Whatever runs on the host under this name, the image's own leftover server aside: [pid on this machine]."""
        found, namespace = [], os.readlink(f"/proc/{self.pid()}/ns/pid")
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                ours = os.readlink(folder / "ns/pid") == namespace and name in (folder / "comm").read_text()
                if ours and "http.server" not in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
        return found

    def kill(self, name):
        """Kill it at once."""
        for pid in self.processes(name):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def reachable(self):
        argv = ["ssh", "-F", "/dev/null", "-i", KEYS / "automation", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        argv += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5"]
        argv += ["-o", "ControlPath=none", f"automation@{self.address}", "sudo", "id", "-u"]
        return run(*argv, check=False, timeout=20, stdin=subprocess.DEVNULL).strip() == "0"

    def left(self):
        return self.sh(LEFT)

    def settled(self, seconds=90.0):
        """Wait until nothing is pending and nothing of ours runs any more."""

        def quiet():
            states = {entry["state"] for entry in self.journal().values()}
            return not states & {"armed", "applied", "reverting"} and not self.left().strip()

        until(f"{self.name}: the host settles", quiet, seconds, 0.3)


def change(**more):
    """The change that the faults befall: a login service and files created, changed, removed, of another mode."""
    return {
        "role": "fault",
        "confirm_timeout": 90,
        "files": [
            {"path": "/etc/ssh/sshd_config.d/50-fault.conf", "content": "MaxAuthTries 5\n", "mode": "0600",
             "validate": ["/usr/sbin/sshd", "-t", "-f", "%s"]},
            {"path": "/etc/fault.conf", "content": "new\n", "mode": "0600"},
            {"path": "/etc/fault.d", "state": "directory", "mode": "0750"},
            {"path": "/etc/fault.d/one/two.conf", "content": "x\n"},
            {"path": "/etc/fault-gone.conf", "state": "absent"},
            {"path": "/etc/fault-mode.conf", "content": "same\n", "mode": "0600"},
            {"path": "/etc/subuid", "content": "automation:100000:65536\n"},
            {"path": "/etc/fault-link", "state": "link", "target": "fault.conf"},
        ],
        "validate": [["/usr/sbin/sshd", "-t"]],
        "activate": [["systemctl", "reload", "ssh.service"]],
        **more,
    }  # fmt: skip


def after(before, wishes):
    """The manifest once the change is made."""
    found = dict(before)
    for wish in wishes["files"]:
        path, state = wish["path"], wish.get("state", "file")
        if state == "absent":
            found.pop(path, None)
        elif state == "link":
            found[path] = ["lrwxrwxrwx", 0, 0, wish["target"]]
        elif state == "directory":
            found[path] = ["d" + rights(wish.get("mode", "0755")), 0, 0]
        else:
            digest = hashlib.sha256(wish["content"].encode()).hexdigest()
            found[path] = ["-" + rights(wish.get("mode", "0644")), 0, 0, digest]
        folder = os.path.dirname(path)
        while state != "absent" and folder not in found and folder != "/etc":
            found[folder] = ["drwxr-xr-x", 0, 0]
            folder = os.path.dirname(folder)
    return found


def rights(mode):
    return "".join(letter if int(mode, 8) >> (8 - place) & 1 else "-" for place, letter in enumerate("rwxrwxrwx"))


def difference(one, other):
    paths = one.keys() | other.keys()
    return {path: (one.get(path), other.get(path)) for path in paths if one.get(path) != other.get(path)}


def shell(command):
    return ["sh", "-c", command]


def hold(marker):
    """A command that waits on the host until it is told to go on, and tells that it has been reached."""
    return shell(f"touch /run/{shlex.quote(marker)}; until [ -e /run/go ]; do sleep 0.05; done")
