# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolment as an operator runs it, on an inventory of nobody's hosts."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.rampart.hardening.plugins.plugin_utils import totp

PROGRAMS = Path(sys.executable).parent
INVENTORY = {
    "all": {
        "vars": {
            "hardening_admins": [
                {"name": "alice"}, {"name": "bob", "mfa": ["key", "totp"]}, {"name": "carol", "mfa": ["key"]},
                {"name": "gone", "state": "absent"},
            ],
            "hardening_break_glass": {"name": "sealed"},
        },
        "hosts": {"h1": {}, "h2": {"hardening_admins": [{"name": "dora"}]}},
    }
}  # fmt: skip


class Desk:
    """The operator's folder."""

    def __init__(self, folder):
        self.folder, self.variables = folder, folder / "group_vars/all/totp.yml"
        (folder / "inventory.json").write_text(json.dumps(INVENTORY))
        (folder / "password").write_text("a vault password\n")

    def run(self, program, *argv, password=True, check=True):
        vault = ["--vault-password-file", "password"] if password else []
        done = subprocess.run([PROGRAMS / program, *argv, *vault], cwd=self.folder, capture_output=True, text=True,
                              check=False, stdin=subprocess.DEVNULL)  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def enrol(self, *argv, **more):
        said = self.run("ansible-playbook", "rampart.hardening.mfa_enrol", "-i", "inventory.json", *argv, **more)
        return int(re.search(r"changed=(\d)", said)[1]), said

    def view(self, path):
        return self.run("ansible-vault", "view", path)

    def secrets(self):
        return yaml.safe_load(self.view(self.variables))["hardening_totp_secrets"]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_everybody_without_a_secret_is_given_one_and_no_output_holds_it(desk):
    assert desk.enrol("--check", "--diff")[0] == 1
    assert not desk.variables.exists() and not (desk.folder / "rampart-mfa").exists()
    changed, said = desk.enrol("-vvv", "--diff")
    made = desk.secrets()
    assert changed == 1 and set(made) == {"alice", "bob", "dora", "sealed"}
    assert totp.problems(made) == []
    for entry in made.values():
        assert len(entry["scratch_codes"]) == 5
        assert not [word for word in (entry["secret"], *entry["scratch_codes"]) if word in said]
    assert desk.enrol()[0] == 0
    assert desk.secrets() == made


def test_what_a_person_is_handed_is_encrypted_and_opens_the_account(desk):
    desk.enrol("-e", '{"hardening_mfa_issuer": "Example Ltd"}')
    entry = desk.secrets()["alice"]
    page = desk.view("rampart-mfa/alice.txt")
    assert entry["secret"] in page.replace(" ", "") and all(code in page for code in entry["scratch_codes"])
    assert "▄" in page and "Example Ltd" in page
    desk.run("ansible-vault", "decrypt", "--output", "alice.png", "rampart-mfa/alice.png")
    assert (desk.folder / "alice.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert totp.uri("alice", entry, "Example Ltd") == (
        f"otpauth://totp/Example%20Ltd:alice?secret={entry['secret']}&issuer=Example%20Ltd"
    )
    for path in [desk.variables, *(desk.folder / "rampart-mfa").iterdir()]:
        assert path.read_bytes().startswith(b"$ANSIBLE_VAULT"), path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((desk.folder / "rampart-mfa").stat().st_mode) == 0o700


def test_a_new_secret_and_none_at_all(desk):
    desk.enrol()
    before = desk.secrets()
    assert desk.enrol("-e", "mfa_reenrol=alice", "-e", "mfa_revoke=dora")[0] == 1
    after = desk.secrets()
    assert after["alice"] != before["alice"] and after["bob"] == before["bob"] and "dora" not in after


def test_secrets_that_were_supplied_stay_where_they_are(desk):
    supplied = {"alice": {"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}}
    changed, said = desk.enrol("-e", json.dumps({"hardening_totp_secrets": supplied}))
    assert changed == 1 and "alice" not in desk.secrets()
    assert "alice.txt" not in said


REFUSED = {
    "no-password": ([], "--ask-vault-pass", {"password": False}),
    "stranger": (["-e", "mfa_reenrol=zed"], "nobody here is called zed; there are alice, bob, dora, sealed", {}),
    "stranger-revoked": (["-e", "mfa_revoke=zed"], "nobody here is called zed", {}),
    "other-vault": (["-e", "mfa_enrol_vault_id=prod"], "there is no vault id prod", {}),
    "path-as-name": (["-e", '{"hardening_admins": [{"name": "../x"}]}'], "not a name of an account: '../x'", {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_and_nothing_is_made(desk, case):
    argv, words, more = REFUSED[case]
    assert words in desk.run("ansible-playbook", "rampart.hardening.mfa_enrol", "-i", "inventory.json", *argv,
                             check=False, **more)  # fmt: skip
    assert sorted(os.listdir(desk.folder)) == ["inventory.json", "password"]


@pytest.mark.parametrize(
    ("text", "encrypted", "words"),
    [("hardening_totp_secrets: {}\n", False, "is not encrypted"), ("hardening_duo: {}\n", True, "holds more than")],
)
def test_a_file_that_is_not_ours_to_replace_is_left(desk, text, encrypted, words):
    path = desk.folder / "mine.yml"
    path.write_text(text)
    if encrypted:
        desk.run("ansible-vault", "encrypt", "mine.yml")
    before = path.read_bytes()
    said = desk.run("ansible-playbook", "rampart.hardening.mfa_enrol", "-i", "inventory.json", "-e",
                    f"mfa_enrol_variables={path}", check=False)  # fmt: skip
    assert words in said
    assert path.read_bytes() == before and not (desk.folder / "rampart-mfa").exists()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "has no secret"),
        ("GEZDGNBVGY3TQOJQ", "has no secret"),
        ({"secret": "GEZDGNBV1890"}, "is not base32"),
        ({"secret": "GEZDGNBV"}, "too short"),
        ({"secret": "gezd gnbv gy3t qojq"}, None),
        ({"secret": "GEZDGNBVGY3TQOJQ", "scratch_codes": ["1234567"]}, "numbers of 8 digits"),
        ({"secret": "GEZDGNBVGY3TQOJQ", "scratch_codes": ["01234567"]}, "numbers of 8 digits"),
        ({"secret": "GEZDGNBVGY3TQOJQ", "scratch_codes": "12345678"}, "numbers of 8 digits"),
    ],
)
def test_secrets_are_judged_without_being_named(entry, words):
    found = totp.problems({"alice": entry})
    assert [words in one for one in found] == [True] if words else found == []
    assert not any("GEZD" in one or "1234567" in one for one in found)


def test_two_people_with_one_secret_are_seen():
    pair = {name: {"secret": "GEZDGNBVGY3TQOJQ"} for name in ("alice", "bob")}
    assert totp.problems(pair) == ["hardening_totp_secrets: bob has the secret of alice"]
    assert "mapping of names" in totp.problems(["alice"])[0]
