# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolment at an operator's desk: as it is run where output counts, and in this process where it does not."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.rampart.hardening.plugins.action import mfa_enrol
from ansible_collections.rampart.hardening.plugins.plugin_utils import totp

PROGRAMS = Path(sys.executable).parent
HOSTS = {
    "h1": {
        "hardening_admins": [
            {"name": "alice"}, {"name": "bob", "mfa": ["key", "totp"]}, {"name": "carol", "mfa": ["key"]},
            {"name": "gone", "state": "absent"},
        ],
        "hardening_break_glass": {"name": "sealed"},
    },
    "h2": {"hardening_admins": [{"name": "dora"}]},
}  # fmt: skip
EVERYBODY = ["alice", "bob", "dora", "sealed"]
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
PASSWORDS = {"default": b"a vault password"}


class Desk:
    """The operator's folder."""

    def __init__(self, folder):
        self.folder, self.variables = folder, folder / "group_vars/all/totp.yml"
        (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": HOSTS}}))
        (folder / "password").write_bytes(PASSWORDS["default"])

    def run(self, program, *argv):
        argv = [PROGRAMS / program, *argv, "--vault-password-file", "password"]
        done = subprocess.run(
            argv, cwd=self.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True
        )
        return done.stdout + done.stderr

    def play(self, *argv):
        said = self.run("ansible-playbook", "rampart.hardening.mfa_enrol", "-i", "inventory.json", *argv)
        return int(re.search(r"changed=(\d)", said)[1]), said

    def enrol(self, hosts=None, passwords=None, check=False, **args):
        """What the action returns. Hosts see what is in the file of variables, unless they have their own secrets."""
        hosts, passwords = HOSTS if hosts is None else hosts, PASSWORDS if passwords is None else passwords
        loader = DataLoader()
        loader.set_vault_secrets([(name, VaultSecret(word)) for name, word in passwords.items()])
        task = SimpleNamespace(args={"output": self.folder / "out", **args}, check_mode=check, diff=True, async_val=0)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="never"))
        action = mfa_enrol.ActionModule(
            task=task, connection=connection, play_context=None, loader=loader, templar=None, shared_loader_obj=None
        )
        common = {"hardening_totp_secrets": self.secrets()} if self.variables.exists() else {}
        hostvars = {name: {**common, **own} for name, own in hosts.items()}
        return action.run(
            None, {"inventory_dir": str(self.folder), "ansible_play_hosts_all": list(hosts), "hostvars": hostvars}
        )

    def view(self, path):
        secrets = [(name, VaultSecret(word)) for name, word in [*PASSWORDS.items(), ("prod", b"of production")]]
        return VaultLib(secrets).decrypt(path.read_bytes())

    def secrets(self):
        return yaml.safe_load(self.view(self.variables))["hardening_totp_secrets"]

    def files(self):
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_everybody_without_a_secret_is_given_one_and_no_output_holds_it(desk):
    before = desk.files()
    changed, said = desk.play("--check", "--diff")
    assert changed == 1 and "enrolled: alice, bob, dora, sealed" in said and "hand over" not in said
    assert desk.files() == before
    changed, said = desk.play("-vvv", "--diff", "-e", "hardening_mfa_issuer='Example Ltd'")
    made = desk.secrets()
    assert changed == 1 and sorted(made) == EVERYBODY and totp.problems(made) == []
    for entry in made.values():
        assert len(entry["secret"]) == 32 and len(entry["scratch_codes"]) == 5
        assert not [word for word in (entry["secret"], *entry["scratch_codes"]) if word in said]
    for path in (desk.variables, *(desk.folder / "rampart-mfa").iterdir()):
        assert path.read_bytes().startswith(b"$ANSIBLE_VAULT;1.1;AES256\n"), path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((desk.folder / "rampart-mfa").stat().st_mode) == 0o700
    assert "issuer=Example%20Ltd" in desk.run("ansible-vault", "view", "rampart-mfa/alice.txt")

    before = desk.files()
    changed, said = desk.play("-vvv")
    assert changed == 0 and "enrolled before: alice, bob, dora, sealed" in said and desk.files() == before
    changed, said = desk.play("-e", "mfa_reenrol=alice,bob", "-e", "mfa_revoke=dora", "-vvv")
    after = desk.secrets()
    assert changed == 1 and sorted(after) == ["alice", "bob", "sealed"] and after["sealed"] == made["sealed"]
    assert not [name for name in ("alice", "bob") if after[name]["secret"] == made[name]["secret"]]
    assert not [entry for entry in after.values() if entry["secret"] in said]


def test_what_a_person_is_handed(desk):
    desk.enrol(issuer="Example Ltd")
    entry, page = desk.secrets()["alice"], desk.view(desk.folder / "out/alice.txt").decode()
    grouped = re.search(r"secret ((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}),", page)[1]
    assert grouped.replace(" ", "") == entry["secret"]
    assert f"otpauth://totp/Example%20Ltd:alice?secret={entry['secret']}&issuer=Example%20Ltd\n" in page
    assert re.findall(r"^ +(\d{8})$", page, re.MULTILINE) == entry["scratch_codes"]
    assert "█ ▄▄▄▄▄ █" in page
    assert desk.view(desk.folder / "out/alice.png").startswith(b"\x89PNG\r\n\x1a\n")


def test_check_mode_predicts_the_run(desk):
    for args in ({}, {"reenrol": "alice, bob", "revoke": "dora"}, {"revoke": "dora"}):
        before = desk.files()
        predicted = desk.enrol(check=True, **args)
        assert desk.files() == before
        assert desk.enrol(**args) == predicted
    assert (predicted["changed"], predicted["already"]) == (False, ["alice", "bob", "sealed"])


def test_whose_secret_was_taken_away_is_enrolled_when_nobody_says_otherwise(desk):
    desk.enrol()
    done = desk.enrol(revoke="dora")
    assert done["already"] == ["alice", "bob", "sealed"] and done["diff"]["after"] == "alice\nbob\nsealed\n"
    assert desk.enrol()["enrolled"] == ["dora"]


def test_who_has_left_is_taken_out_and_not_before(desk):
    desk.enrol()
    left = {"h1": HOSTS["h1"]}
    assert not desk.enrol(left)["changed"] and "dora" in desk.secrets()
    assert desk.enrol(left, revoke="dora")["revoked"] == ["dora"]
    assert "dora" not in desk.secrets()


def test_secrets_that_were_supplied_stay_where_they_are(desk):
    supplied = {name: {"secret": SECRET} for name in ("alice", "bob", "sealed")}
    hosts = {**HOSTS, "h1": {**HOSTS["h1"], "hardening_totp_secrets": supplied}}
    done = desk.enrol(hosts)
    assert (done["enrolled"], done["already"]) == (["dora"], ["alice", "bob", "sealed"])
    assert list(desk.secrets()) == ["dora"]
    for option in ("reenrol", "revoke"):
        with pytest.raises(AnsibleActionFail, match="the secrets of alice are not in"):
            desk.enrol(hosts, **{option: "alice"})


def test_a_secret_that_another_definition_would_hide_is_not_made(desk):
    hosts = {**HOSTS, "h1": {**HOSTS["h1"], "hardening_totp_secrets": {"alice": {"secret": SECRET}}}}
    with pytest.raises(AnsibleActionFail, match="h1 takes .* one of the two hides the other.*: bob, sealed"):
        desk.enrol(hosts)
    assert not desk.variables.exists()
    desk.enrol()
    assert desk.enrol(hosts, revoke="dora")["revoked"] == ["dora"]  # cannot wait for h1 to be put right


def test_the_file_goes_on_with_the_vault_id_it_has(desk):
    both = {**PASSWORDS, "prod": b"of production"}
    heads = {True: b"$ANSIBLE_VAULT;1.2;AES256;prod\n", False: b"$ANSIBLE_VAULT;1.1;AES256\n"}

    def is_prod(path):
        content = path.read_bytes()
        assert content.startswith(heads[b"prod" in content[:40]])
        return b"prod" in content[:40]

    desk.enrol(passwords=both)
    assert not is_prod(desk.variables)
    desk.enrol(passwords=both, vault_id="prod", reenrol="alice")
    assert is_prod(desk.variables) and is_prod(desk.folder / "out/alice.png")
    desk.enrol(passwords=both, reenrol="bob")
    assert is_prod(desk.variables) and is_prod(desk.folder / "out/bob.txt")


def test_the_vault_id_of_the_configuration_comes_before_the_first(desk, monkeypatch):
    monkeypatch.setattr(mfa_enrol.C, "DEFAULT_VAULT_ENCRYPT_IDENTITY", "prod")
    desk.enrol(passwords={**PASSWORDS, "prod": b"of production"})
    assert desk.variables.read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;prod\n")


def alone(**variables):
    return {"hosts": {"h1": variables}}


REFUSED = {
    "no-password": ({"passwords": {}}, "--ask-vault-pass"),
    "stranger": ({"reenrol": "zed"}, "nobody here is called zed; there are alice, bob, dora, sealed"),
    "stranger-revoked": ({"revoke": "zed"}, "nobody here is called zed; there are alice, bob, dora, sealed"),
    "both": ({"revoke": "bob,alice", "reenrol": "alice"}, "both name alice"),
    "other-vault": ({"vault_id": "prod"}, "there is no vault id prod; this run knows default"),
    "path-as-name": (alone(hardening_admins=[{"name": "../x"}]), "not a name of an account: '../x'"),
    "odd-break-glass": (alone(hardening_break_glass={"name": "a/b"}), "not a name of an account: 'a/b'"),
    "nameless": (alone(hardening_admins=[{"mfa": "totp"}]), "a list of people, each with a name"),
    "no-people": (alone(hardening_admins="{{ left over }}"), "a list of people, each with a name"),
    "no-mapping": (alone(hardening_totp_secrets=["alice"]), "hardening_totp_secrets of h1 has to be a mapping"),
    "issuer": ({"issuer": "a:b"}, "no colon"),
    "output": ({"output": "/bin/sh/out"}, "/bin/sh is no directory"),
    "variables": ({"variables": "/dev/null/totp.yml"}, "Not a directory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_and_nothing_is_made(desk, case):
    args, words = REFUSED[case]
    before = desk.files()
    for check in (True, False):
        with pytest.raises(AnsibleActionFail, match=re.escape(words)) as refusal:
            desk.enrol(check=check, **args)
        assert "Nothing was made." in str(refusal.value)
        assert desk.files() == before and not (desk.folder / "out").exists()


@pytest.mark.parametrize(
    ("text", "password", "words"),
    [
        (b"hardening_totp_secrets: {}\n", None, "is not encrypted"),
        (b"hardening_totp_secrets: {}\n", b"another", "cannot be decrypted"),
        (b"hardening_totp_secrets: {}\nhardening_duo: {}\n", PASSWORDS["default"], "holds more than"),
        (b"hardening_totp_secrets: [alice]\n", PASSWORDS["default"], "a mapping of names"),
        (b"a: 'GEZDGNBVGY3T\n", PASSWORDS["default"], "is not YAML"),
        (b"\xff\n", PASSWORDS["default"], "is not YAML"),
    ],
)
def test_a_file_that_is_not_ours_to_replace_is_left(desk, text, password, words):
    path = desk.folder / "mine.yml"
    path.write_bytes(VaultLib().encrypt(text, VaultSecret(password)) if password else text)
    before = desk.files()
    with pytest.raises(AnsibleActionFail, match=f"{re.escape(str(path))}.*{words}") as refusal:
        desk.enrol(variables=path)
    assert desk.files() == before and "GEZD" not in str(refusal.value) + str(refusal.value.__cause__)


def test_a_user_who_may_not_write_is_told_before(desk, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, how: Path(path) != desk.folder)
    with pytest.raises(AnsibleActionFail, match=f"{desk.folder} is no directory that can be written to"):
        desk.enrol()


def test_without_segno_it_says_what_to_install_once_somebody_is_to_be_enrolled(desk, monkeypatch):
    desk.enrol()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert desk.enrol(revoke="dora")["changed"]
    with pytest.raises(AnsibleActionFail, match="-m pip install segno"):
        desk.enrol()


def test_a_full_disk_leaves_everything_as_it_was(desk, monkeypatch):
    desk.enrol()
    before, written = desk.files(), []

    def fsync(handle):
        written.append(handle)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(AnsibleActionFail, match="No space left on device. .*totp.yml is as before"):
        desk.enrol(reenrol="alice")
    assert desk.files() == before


def test_an_inventory_that_is_no_file_has_nothing_beside_it(desk):
    with pytest.raises(subprocess.CalledProcessError) as failure:
        desk.run("ansible-playbook", "rampart.hardening.mfa_enrol", "-i", "h1,")
    assert "say which file is to hold the secrets (mfa_enrol_variables)" in failure.value.stdout + failure.value.stderr


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "has no secret"),
        ("GEZDGNBVGY3TQOJQ", "has no secret"),
        ({"secret": "GEZDGNBV1890"}, "is not base32"),
        ({"secret": "GEZDGNBVGÉ"}, "is not base32"),
        ({"secret": "GEZDGNBVGY3TQOJ"}, "too short"),
        ({"secret": "gezd gnbv-gy3t qojq===="}, None),
        ({"secret": "GEZDGNBVGY3TQOJQ", "scratch_codes": [12345678]}, None),
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
    pair = {"alice": {"secret": "GEZDGNBVGY3TQOJQ"}, "bob": {"secret": "gezd gnbv gy3t qojq"}}
    assert totp.problems(pair) == ["hardening_totp_secrets: bob has the secret of alice"]
    assert "mapping of names" in totp.problems(["alice"])[0]
