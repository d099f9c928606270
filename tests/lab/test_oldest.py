# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job with the oldest ansible-core that is supported and runs on this Python: its templates are others."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from lab import STATE

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = [sys.executable, str(ROOT / "tests/lab/lab.py"), "host"]
OLDEST = "2.17.14" if sys.version_info < (3, 13) else "2.18.6"
NAME = "oldest"


@pytest.fixture(scope="module")
def oldest():
    """The folder of the programs of the oldest ansible-core."""
    venv = ROOT / f".cache/venv-{OLDEST}"
    if not (venv / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        wanted = [f"ansible-core=={OLDEST}", "-r", str(ROOT / "requirements.txt")]
        subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
        (venv / "done").touch()
    return venv / "bin"


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    subprocess.run([*LAB, "down", NAME], check=False, capture_output=True)
    subprocess.run([*LAB, "up", NAME], check=True, capture_output=True)
    overlay = tmp_path_factory.mktemp("oldest") / "automation.yml"
    login = {"ansible_user": "automation", "ansible_ssh_private_key_file": str(STATE / "keys/automation")}
    overlay.write_text(json.dumps({"all": {"hosts": {NAME: login}}}))
    yield [STATE / "hosts" / NAME / "inventory.yml", overlay]
    subprocess.run([*LAB, "down", NAME], check=False, capture_output=True)


@pytest.fixture
def play(oldest, inventory, tmp_path):
    def run(name, *options):
        argv = [oldest / "ansible-playbook", *(f"--inventory={path}" for path in inventory), name, *options]
        env = os.environ | {"PATH": f"{oldest}:{os.environ['PATH']}"}
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return int(re.search(r"changed=(\d+)", done.stdout)[1]), done.stdout

    return run


# the tests of this module tell one story, in order


def test_it_is_the_oldest(oldest):
    said = subprocess.run([oldest / "ansible", "--version"], check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"ansible [core {OLDEST}]")


def test_a_pristine_host_is_predicted_hardened_and_left_alone(play):
    foreseen = play("rampart.hardening.site", "--check", "--diff")[0]
    assert foreseen == play("rampart.hardening.site")[0] > 3
    assert play("rampart.hardening.site")[0] == 0
    assert play("rampart.hardening.site", "--check")[0] == 0


def test_it_verifies_and_goes_back(play):
    assert "compliant" in play("rampart.hardening.verify")[1]
    assert play("rampart.hardening.undo", "-e", "undo=all")[0] == 1
