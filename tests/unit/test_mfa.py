# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who shows which factor, who would be shut out, and the program that PAM asks."""

from __future__ import annotations

import copy
import datetime
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_mfa
from ansible_collections.rampart.hardening.plugins.plugin_utils import mfa

TODAY = datetime.date(2026, 11, 24)
PROGRAM = Path(__file__).parents[2] / "roles/mfa/files/mfa.sh"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SK = "sk-ssh-ed25519@openssh.com AAAA carol"
CONTROLS = ["mfa.ssh", "mfa.sudo", "mfa.console"]
SURVEY = {
    "ssh": {
        "installed": True,
        "algorithms": {"signature": ["ssh-ed25519", "sk-ssh-ed25519@openssh.com"]},
        "config": {"files": [], "directives": [], "path": "/etc/ssh/sshd_config", "real": "/etc/ssh/sshd_config",
                   "exists": True, "text": "", "mode": "0644"},
        "command_lines": [], "error": "", "binary": "/usr/sbin/sshd", "service": "ssh.service",
    },
    "mfa": {"skew": 0, "foreign": [], "synchronized": True, "enrolled": [], "modules": {}},
    "accounts": {"login_group": {"exists": True, "members": ["alice", "bob", "automation"]}, "logins": []},
}  # fmt: skip
POLICY = {
    "controls": CONTROLS,
    "services": ["ssh", "sudo", "console"],
    "admins": [{"name": "alice"}, {"name": "bob"}],
    "totp_secrets": {"alice": {"secret": SECRET}, "bob": {"secret": SECRET[::-1]}},
    "exempt": [{"name": "automation", "from": ["10.0.0.1"], "reason": "x"}],
    "today": TODAY,
}


def plan(survey=None, **policy):
    return mfa.plan({**copy.deepcopy(SURVEY), **(survey or {})}, **{**POLICY, **policy})


def change(made, survey=None):
    texts = {name: name for name in ("sshd", "pam", "profile", "program", "duo", "proof")}
    return mfa.change({**copy.deepcopy(SURVEY), **(survey or {})}, made, **texts)


def paths(made, survey=None, state=None):
    return {one["path"] for one in change(made, survey)["files"] if one.get("state") == state}


def test_each_service_is_a_word_a_control_or_a_name_of_pam():
    assert plan()["services"][:2] == ["sshd", "sudo"]
    assert "login" in plan()["services"]
    assert plan(controls=["mfa.ssh"])["services"] == ["sshd"]
    assert plan(services=["cockpit"])["services"] == ["cockpit"]
    assert "cockpit/x" in plan(services=["cockpit/x"])["refuse"][0]


def test_without_a_service_all_of_it_is_taken_out():
    made = plan(services=[])
    assert made["refuse"] == []
    assert paths(made) == set()
    found = change(made, {"mfa": {**SURVEY["mfa"], "enrolled": ["alice"]}})
    gone = {one["path"] for one in found["files"]}
    assert {"/var/lib/rampart/mfa/totp/alice", mfa.MFA_DROPIN, mfa.PROFILE, survey_mfa.OURS} <= gone
    assert "--remove" in found["derive"][0]["command"]
    assert found["prove"] == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"totp_secrets": {}}, "nobody is enrolled"),
        ({"totp_secrets": {}, "grace_until": "2026-11-23"}, "nobody is enrolled"),
        ({"totp_secrets": {"alice": {"secret": SECRET}}}, "have no second factor: bob"),
        ({"grace_until": "soon"}, "'soon' is not a date"),
        ({"factors": ["sms"]}, "'sms' is no second factor"),
        ({"admins": [{"name": "a b"}]}, "'a b' is not a name"),
        ({"exempt": [{"name": "backup", "from": ["10.0.0.1"]}]}, "backup lacks reason"),
        ({"exempt": [{"name": "bob", "from": ["10.0.0.1"], "reason": "x"}]}, "bob is a person"),
        ({"exempt": [{"name": "root", "from": ["10.0.0.1"], "reason": "x"}]}, "root is a person"),
        ({"factors": "duo", "duo": {"host": "x"}}, "hardening_duo lacks ikey, skey"),
        ({"factors": "duo", "duo": {"host": "x", "ikey": "i", "skey": "s", "fail": "x"}}, "is not given fail"),
        ({"factors": "duo", "duo": {"host": "x", "ikey": "i", "skey": "s\nfailmode=safe"}}, "with blanks"),
        ({"factors": "duo", "duo": {"host": "x", "ikey": "i", "skey": "s", "cafile": ""}}, "empty, with blanks"),
        ({"factors": "duo", "duo": {"host": "x", "ikey": "i", "skey": "s", "https_timeout": 0}}, "at least 1 second"),
        ({"factors": "duo", "duo": {"host": "x", "ikey": "i", "skey": "s", "failmode": "open"}}, "failmode is one of"),
        (
            {"admins": [{"name": "carol", "ssh_keys": [SK], "mfa": ["key"]}, {"name": "alice"}]},
            "nothing to show to sudo",
        ),
    ],
)
def test_what_would_end_badly_is_refused(policy, words):
    refused = plan(**policy)["refuse"]
    assert any(words in one for one in refused), refused


def test_others_who_log_in_must_not_be_lost_unnoticed():
    accounts = {"login_group": {"exists": True, "members": ["alice", "partner", "automation", "gone"]}, "logins": []}
    assert "have no second factor: partner." in plan({"accounts": accounts}, closed=["gone"])["refuse"][0]
    made = plan({"accounts": accounts}, closed=["gone"], grace_until=TODAY)
    assert made["refuse"] == []
    assert made["notes"] == ["not enrolled, get in with their key alone until 2026-11-24: partner"]
    made = plan({"accounts": accounts}, closed=["gone"], grace_until="2026-11-23")
    assert (made["refuse"], made["notes"]) == ([], ["not enrolled, are shut out since 2026-11-23: partner"])
    logins = [{"name": "partner", "ssh": "key", "uid": 1002}, {"name": "root", "ssh": "key", "uid": 0},
              {"name": "quiet", "ssh": "", "uid": 1003}]  # fmt: skip
    fresh = {"login_group": {"exists": False, "members": []}, "logins": logins}
    assert "have no second factor: partner." in plan({"accounts": fresh})["refuse"][0]


@pytest.mark.parametrize(("skew", "words"), [(31, "31 seconds ahead of"), (-45, "45 seconds behind"), (-30, None)])
def test_a_clock_that_is_off_is_refused(skew, words):
    refused = plan({"mfa": {**SURVEY["mfa"], "skew": skew}})["refuse"]
    assert ([words in one for one in refused] == [True]) if words else refused == []


def test_a_factor_of_the_site_is_refused_where_ours_would_be_the_second():
    foreign = [{"file": "/etc/pam.d/sshd", "line": 3, "module": "pam_duo"}]
    assert "/etc/pam.d/sshd:3 asks" in plan({"mfa": {**SURVEY["mfa"], "foreign": foreign}})["refuse"][0]
    assert plan({"mfa": {**SURVEY["mfa"], "foreign": foreign}}, services=["sudo"])["refuse"] == []


def test_foreign_factors_are_found(tmp_path, monkeypatch):
    lines = "# pam_duo.so\nauth required pam_oath.so # x\nsession optional pam_u2f.so\n-auth  [success=1] pam_duo.so\n"
    (tmp_path / "sshd").write_text(lines)
    monkeypatch.setattr(survey_mfa.glob, "glob", lambda _pattern: [str(tmp_path / "sshd")])
    assert [(one["line"], one["module"]) for one in survey_mfa.foreign()] == [(2, "pam_oath"), (4, "pam_duo")]


def test_people_show_what_they_have():
    people = [
        {"name": "alice", "mfa": ["totp", "duo"]},
        {"name": "carol", "mfa": ["key"], "ssh_keys": ["ssh-ed25519 AAAA", SK], "u2f": ":kh,pk,es256,+presence"},
        {"name": "dave", "mfa": ["key", "totp"], "ssh_keys": [SK]},
        {"name": "erin", "mfa": ["key"], "ssh_keys": ["ssh-ed25519 AAAA sk-x@openssh.com"], "sudo": False},
        {"name": "gone", "state": "absent"},
    ]
    secrets = {"alice": {"secret": SECRET}, "dave": {"secret": SECRET[::-1]}, "carol": {"secret": SECRET[1:] + "A"}}
    duo = {"host": "h", "ikey": "i", "skey": "s"}
    made = plan(admins=people, totp_secrets=secrets, duo=duo, grace_until="2027-01-31", break_glass="sealed")
    assert made["refuse"] == []
    assert set(made["totp"]) == {"alice", "dave"}
    assert (made["duo"], made["key_only"], made["key"]) == (["alice"], ["carol"], ["dave"])
    assert made["notes"] == ["not enrolled, get in with their key alone until 2027-01-31: bob, erin, sealed"]
    assert made["grace"] == "20270131"
    files = {one["path"]: one for one in change(made)["files"]}
    assert files[mfa.U2F_FILE]["content"] == "carol::kh,pk,es256,+presence\n"
    assert files["/var/lib/rampart/mfa/totp/alice"]["sensitive"] and files[mfa.DUO_FILE]["sensitive"]


def test_what_the_program_notes_in_a_secret_does_not_count_and_all_else_does():
    made = mfa.totp_file({"secret": SECRET.lower(), "scratch_codes": ["12345678"]}, 6, 180, 3)
    used = made.replace("180\n", "180 1795545460 1795545461\n")
    used = used.replace("REUSE\n", "REUSE 59851515 59851516  59851517 \n").replace("12345678\n", "")

    def counts(text):
        return re.sub(mfa.TOTP_NOTES, "", text, flags=re.MULTILINE)

    assert counts(used) == counts(made) and used != made
    for other in (made.replace("GEZD", "GEZE"), made.replace("6 180", "7 180"), made.replace('" TOTP_AUTH\n', "")):
        assert counts(other) != counts(made)


@pytest.mark.parametrize(
    ("argv", "environment", "yes"),
    [
        (["key"], {"SSH_AUTH_INFO_0": "publickey ssh-ed25519 AAAA"}, True),
        (["key"], {"SSH_AUTH_INFO_0": "keyboard-interactive"}, False),
        (["key"], {}, False),
        (["hardware"], {"SSH_AUTH_INFO_0": "publickey sk-ssh-ed25519@openssh.com AAAA"}, True),
        (["hardware"], {"SSH_AUTH_INFO_0": "publickey ssh-ed25519 AAAA"}, False),
        (["grace", "{tomorrow}"], {}, True),
        (["grace", "{today}"], {}, True),
        (["grace", "{yesterday}"], {}, False),
        (["grace", ""], {}, False),
        (["anything"], {}, False),
        ([], {}, False),
    ],
)
def test_the_program_that_pam_asks(argv, environment, yes):
    now = datetime.datetime.now(datetime.UTC).date()
    days = {name: (now + datetime.timedelta(days=off)).strftime("%Y%m%d")
            for name, off in (("yesterday", -1), ("today", 0), ("tomorrow", 1))}  # fmt: skip
    done = subprocess.run(["sh", PROGRAM, *(one.format(**days) for one in argv)], env=environment, check=False,
                          capture_output=True)  # fmt: skip
    assert (done.returncode == 0) == yes


@pytest.mark.skipif(os.geteuid() != 0, reason="the file has to be root's")
@pytest.mark.parametrize(
    ("text", "mode", "yes"),
    [
        ("[duo]\nfailmode = secure\n", 0o600, True),
        ("[duo]\nfailmode = secure\n", 0o644, False),
        ("[duo]\nfailmode = secure", 0o600, False),
        ("[duo]\nfailmode = safe\n", 0o600, False),
        ("", 0o600, False),
    ],
)
def test_a_configuration_with_which_duo_would_let_everybody_in_is_seen(tmp_path, text, mode, yes):
    path = tmp_path / "duo.conf"
    path.write_text(text)
    path.chmod(mode)
    written = hashlib.sha256(b"[duo]\nfailmode = secure\n").hexdigest()
    done = subprocess.run(["sh", PROGRAM, "duo", path, written], env={}, check=False, capture_output=True)
    assert (done.returncode == 0) == yes
