# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of a role share: a lab host with its inventory, the playbooks run on it, logins, and what verify says."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from lab import container

LAB = pathlib.Path(__file__).with_name("lab.py")
STATE = LAB.parents[2] / ".cache" / "lab"
KEYS = STATE / "keys"


def releases(first):
    """The Debian releases that a test runs on: molecule has the role on both, `make lab-test` this too."""
    return ["bookworm", "trixie"] if os.environ.get("EVERY_RELEASE") else [first]


def run(*argv, check=True, **options):
    """A command, with what it said; its input is its own, as a client of SSH that is killed leaves a shared one in a
    state that Ansible refuses."""
    argv = [str(word) for word in argv]
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, errors="backslashreplace", **options)
    if check and done.returncode:
        raise AssertionError(f"{argv}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done


class Host:
    """A host in its bad state, which its inventory hardens as the automation account."""

    def __init__(self, name, image, role, **policy):
        self.name, self.role = name, role
        run(sys.executable, LAB, "host", "down", name, check=False)
        run(sys.executable, LAB, "host", "up", name, "--image", image)
        self.state = STATE / "hosts" / name
        self.inventory = json.loads((self.state / "inventory.yml").read_text(encoding="utf-8"))
        variables = self.inventory["all"]["children"]["jump"]["hosts"][name]
        variables.update(ansible_user="automation", ansible_ssh_private_key_file=str(KEYS / "automation"))
        self.address = variables["ansible_host"]
        self.policy = self.inventory["all"]["vars"] | {"hardening_confirm_timeout": 45} | policy

    def down(self):
        run(sys.executable, LAB, "host", "down", self.name, check=False)

    def sh(self, command, check=True, **options):
        return run("podman", "exec", "-i", container(self.name), "sh", "-c", command, check=check, **options).stdout

    def play(self, book, *options, check=True, **policy):
        """A playbook of ours; the policy, with some of it otherwise, is in the inventory."""
        path = self.state / "test.json"
        self.inventory["all"]["vars"] = self.policy | policy
        path.write_text(json.dumps(self.inventory), encoding="utf-8")
        return run("ansible-playbook", f"rampart.hardening.{book}", "-i", path, *options, check=check)

    def site(self, *options, check=True, tags=None, **policy):
        return self.play("site", "--tags", tags or self.role, *options, check=check, **policy)

    def undo(self, what=None):
        return self.play("undo", "-e", f"undo={what or 'role:' + self.role}")

    def verdicts(self, check=False, **policy):
        """{control: (verdict, message)} of the role."""
        output = self.state / "evidence"
        self.play("verify", "-e", f"verify_roles={self.role}", "-e", f"verify_output={output}", check=check, **policy)
        evidence = json.loads((output / "latest/evidence.json").read_text(encoding="utf-8"))
        results = evidence["hosts"][self.name]["results"]
        return {control: (result["verdict"], result.get("message")) for control, result in results.items()}

    def login(self, user, command="id -un", timeout=20):
        """What a login with the person's key comes to: (exit status, what was said)."""
        argv = ["-F", "/dev/null", "-i", KEYS / user, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o",
                "LogLevel=ERROR", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]  # fmt: skip
        done = run("ssh", *argv, f"{user}@{self.address}", command, check=False, stdin=subprocess.DEVNULL,
                   timeout=timeout)  # fmt: skip
        return done.returncode, done.stdout + done.stderr
