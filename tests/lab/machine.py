# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine of the lab: its inventory, playbooks run on it, and what is asked of it past its network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from faults import JOURNAL, KEYS, LEFT, run, until
from lab import STATE

ROOT = Path(__file__).resolve().parents[2]
VM = ROOT / "tests/lab/vm.py"
SLOW = {"ANSIBLE_TIMEOUT": "60"}  # everything takes its time under emulation, a login too


def vm(*argv, **options):
    return run(sys.executable, VM, *argv, **{"timeout": 700, **options})


def boot_hash(password):
    """As grub-mkpasswd-pbkdf2 makes it."""
    salt = bytes(range(64))
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 10000)
    return "grub.pbkdf2.sha512.10000." + f"{salt.hex()}.{made.hex()}".upper()


# The image's, made for clouds, knows no USB
USUAL_KERNEL = """
set -e
export DEBIAN_FRONTEND=noninteractive
echo linux-base linux-base/removing-running-kernel boolean false | debconf-set-selections
apt-get -q update
apt-get -qy --no-install-recommends install linux-image-amd64
apt-get -qy purge 'linux-image-*cloud-amd64'
"""


class Machine:
    def __init__(self, name, release, *options, group="jump", **policy):
        """A new machine in its bad state; `options` are vm.py's, the policy goes into the inventory."""
        self.name, self.group = name, group
        vm("down", name, check=False)
        self.address = vm("up", name, "--image", release, *options, timeout=900).strip()
        self.folder = STATE / "hosts" / name
        inventory = json.loads((self.folder / "inventory.yml").read_text())
        self.policy = inventory["all"]["vars"] | {"hardening_confirm_timeout": 180} | policy
        self.variables = inventory["all"]["children"]["jump"]["hosts"][name] | {
            "ansible_user": "automation",
            "ansible_ssh_private_key_file": str(KEYS / "automation"),
            "ansible_become": True,
            "ansible_pipelining": True,
        }

    def sh(self, command, **options):
        return vm("exec", self.name, "sh", "-c", command, **options)

    def python(self, code):
        return json.loads(vm("exec", self.name, "python3", "-", input=code))

    def take_usual_kernel(self):
        self.sh(USUAL_KERNEL, timeout=1800)
        vm("restart", self.name)

    def manifest(self):
        return self.python((ROOT / "molecule/shared/manifest.py").read_text())

    def book(self, name, *options, check=True, **policy):
        """Run a playbook of the collection as the automation account; what it said."""
        group = {"children": {self.group: {"hosts": {self.name: self.variables}}}}
        inventory = self.folder / "test.json"
        inventory.write_text(json.dumps({"all": {"vars": self.policy | policy, **group}}))
        began = time.monotonic()
        said = run("ansible-playbook", f"rampart.hardening.{name}", "-i", inventory, *options, check=check,
                   timeout=1800, env=os.environ | SLOW)  # fmt: skip
        print(f"{name}: {time.monotonic() - began:.0f} s\n{said}")
        return said

    def verify(self):
        self.book("verify", "-e", f"verify_output={self.folder / 'evidence'}")

    def verdict(self, control):
        """The control's (verdict, message), whatever else is found."""
        output = self.folder / "evidence"
        role = control.partition(".")[0]
        self.book("verify", "-e", f"verify_roles={role}", "-e", f"verify_output={output}", check=False)
        found = json.loads((output / "latest/evidence.json").read_text(encoding="utf-8"))
        result = found["hosts"][self.name]["results"][control]
        return result["verdict"], result.get("message")

    def unchanged(self, *options):
        assert re.search(r"\bchanged=0\b", self.book("site", "--diff", *options))

    def reachable(self):
        """A fresh login of the automation account, with sudo."""
        argv = ["ssh", "-F", "/dev/null", "-i", KEYS / "automation", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        argv += ["-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}", "-o", "ConnectTimeout=30"]
        argv += [f"automation@{self.address}", "sudo", "id", "-u"]
        return run(*argv, check=False, timeout=90, stdin=subprocess.DEVNULL).strip() == "0"

    def settled(self):
        """Wait until no change of ours is pending; the journal."""

        def quiet():
            journal = self.python(JOURNAL)
            pending = {entry["state"] for entry in journal.values()} & {"armed", "applied", "reverting"}
            return (pending or self.sh(LEFT).strip()) and None or (journal or {"none": {}})

        return until(f"{self.name}: the machine settles", quiet, 240, 0.5)
