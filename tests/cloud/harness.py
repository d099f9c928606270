# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all clouds share: a cloud module is run as Ansible runs it, in a process of its own.

    from harness import module
    result = module("aws_role_binding", {"name": "db", ...}, check=True, env={"AWS_ACCESS_KEY_ID": ...})

Each cloud's server, and the fixtures that belong to it, are in a file of their own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache/collections"
MODULES = "ansible_collections.rampart.hardening.plugins.modules"

# A process that has imported these already is forked for each run, as importing them takes seconds. Alibaba's reads
# the environment while it is imported, and so is not among them
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([
    "ansible.module_utils.basic", "azure.identity", "azure.mgmt.authorization", "azure.mgmt.compute", "azure.mgmt.msi",
    "azure.mgmt.network", "boto3", "google.auth", "googleapiclient.discovery",
])  # fmt: skip


def become(name: str, args: dict, env: dict, stdout: str, stderr: str) -> None:
    """What the forked process does: Ansible's own wrapper has the arguments in memory too, and a module as a script."""
    from ansible.module_utils import basic

    os.environ.clear()
    os.environ.update(env)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY), number)
    sys.path.insert(0, str(COLLECTIONS))
    basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode(), "legacy"
    runpy.run_module(f"{MODULES}.{name}", run_name="__main__", alter_sys=True)


def module(name: str, args: dict, check: bool = False, env: dict | None = None, timeout: float = 300) -> dict:
    """Run a module of ours; what it returned, always with `failed`, `changed` and `warnings`.

    It sees no more of this process's environment than what is given: no credentials, no proxies, and a home that is
    not there.
    """
    args = {**args, "_ansible_check_mode": check, "_ansible_diff": True}
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **(env or {})}
    with tempfile.NamedTemporaryFile() as stdout, tempfile.NamedTemporaryFile() as stderr:
        process = context.Process(target=become, args=(name, args, environment, stdout.name, stderr.name))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
        said, errors = stdout.read().decode(), stderr.read().decode()
    try:
        result = json.loads(said)
    except ValueError:
        raise AssertionError(f"{name} ended with {process.exitcode}:\n{said}{errors}") from None
    warned = result.get("warnings", [])  # from ansible-core 2.19 on each is an object
    warnings = [one if isinstance(one, str) else one["event"]["msg"] for one in warned]
    return {"failed": bool(process.exitcode), "changed": False, **result, "warnings": warnings}


def play_example(page: str, modules: list[str], directory: Path, env: dict, **more) -> None:
    """Run the playbook with the variables of a page and with *more*; it passes every option of these modules on."""
    variables = yaml.safe_load(re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)[1])
    (directory / "group_vars").mkdir()
    (directory / "group_vars/all.yml").write_text(yaml.safe_dump({**variables, **more}))
    (directory / "inventory.yml").write_text("db: {hosts: {db1: , db2: }}\n")
    book = ROOT / "playbooks/cloud_identity.yml"
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "inventory.yml", book],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (play,) = yaml.safe_load(book.read_text())
    for name in modules:
        (passed,) = [task[f"rampart.hardening.{name}"] for task in play["tasks"] if f"rampart.hardening.{name}" in task]
        documentation = (ROOT / f"plugins/modules/{name}.py").read_text().split("'''")[1]
        assert set(yaml.safe_load(documentation)["options"]) <= set(passed)
