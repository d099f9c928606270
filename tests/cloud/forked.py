# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""harness.module, in a process that is forked from one which has the SDKs already: importing them takes seconds."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

from harness import COLLECTIONS, MODULES

SDKS = ["ansible.module_utils.basic", "azure.identity", "azure.mgmt.network", "boto3"]
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(SDKS)


def serve(name: str, args: dict, env: dict, output: str) -> None:
    """What the forked process does: become the module."""
    from ansible.module_utils import basic

    os.environ.clear()
    os.environ.update(env)
    handle = os.open(output, os.O_WRONLY)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.path.insert(0, str(COLLECTIONS))
    basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode(), "legacy"
    runpy.run_module(f"{MODULES}.{name}", run_name="__main__", alter_sys=True)


def module(name: str, args: dict, check: bool = False, env: dict | None = None, timeout: float = 300) -> dict:
    """Run a module of ours; what it returned, always with `failed` and `changed`."""
    args = {**args, "_ansible_check_mode": check, "_ansible_diff": True}
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **(env or {})}
    with tempfile.NamedTemporaryFile() as output:
        process = context.Process(target=serve, args=(name, args, environment, output.name))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
        said = Path(output.name).read_text()
    try:
        result = json.loads(said)
    except ValueError:
        raise AssertionError(f"{name} ended with {process.exitcode}:\n{said}") from None
    return {"failed": bool(process.exitcode), "changed": False, **result}
