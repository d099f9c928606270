# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a jump server lets through, whom it gives a shell, and how the log of passages is made of sshd's lines."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import bastion
from ansible_collections.rampart.hardening.plugins.plugin_utils.flows import FlowError

READER = Path(__file__).parents[2] / "roles/bastion/files/passages.py"
GROUPS = {"all": ["j1", "j2", "w", "d"], "jump": ["j1", "j2"], "web": ["w"], "db": ["d"]}
HOSTVARS = {
    "j1": {"hardening_addresses": ["10.0.0.1"]},
    "j2": {"hardening_addresses": ["10.0.0.2"]},
    "w": {"ansible_host": "10.0.1.1", "hardening_addresses": ["10.0.1.1", "fd00::1"]},
    "d": {"ansible_host": "10.0.2.1"},
}


@pytest.mark.parametrize(
    ("flows", "places"),
    [
        ([], []),
        ([{"from": "jump", "to": "db", "port": 3306}], ["d:3306", "10.0.2.1:3306"]),
        ([{"from": "any", "to": "web", "port": [80, "90-91"]}],
         [f"{name}:{port}" for name in ("w", "10.0.1.1", "[fd00::1]") for port in (80, 90, 91)]),
        ([{"from": "web", "to": "db", "port": 3306}], []),
        ([{"from": "10.0.0.0/24", "to": "db", "port": 22}], ["d:22", "10.0.2.1:22"]),
        ([{"from": "jump", "to": "all", "port": 53, "proto": "udp"}], []),
        ([{"from": "j1", "to": "jump", "port": 22}], ["j2:22", "10.0.0.2:22"]),
    ],
)  # fmt: skip
def test_what_is_declared_may_be_passed_through_to_under_every_name(flows, places):
    assert bastion.destinations(flows, "j1", GROUPS, HOSTVARS) == places


def test_a_range_too_wide_to_list_is_refused():
    with pytest.raises(FlowError, match="more than a jump server can list"):
        bastion.destinations([{"from": "jump", "to": "db", "port": "1000-9000"}], "j1", GROUPS, HOSTVARS)


def survey(*directives):
    return {
        "ssh": {"installed": True, "version": [9, 2], "config": {"directives": list(directives)}},
        "accounts": {"sudo": True, "groups": {"partners": ["acme", "initech"]}},
    }


def directive(match):
    return {"file": "/etc/ssh/sshd_config", "line": 1, "keyword": "forcecommand", "name": "ForceCommand",
            "value": "internal-sftp", "match": match}  # fmt: skip


def test_who_is_treated_how():
    scopes = ("Match User backup,x*", "Match Group partners", "Match Address 10.0.0.9")
    site = survey(*map(directive, scopes))
    plan = bastion.plan(site, ["d:22"], shells=["alice", "automation"], spared=["automation"])
    assert (plan["shells"], plan["spared"]) == (["alice"], ["acme", "automation", "backup", "initech"])
    assert plan["notes"] == ["keep the command that this host forces on them: acme, backup, initech"]
    assert plan["refuse"] == []
    assert "always asks for a second factor" in bastion.plan(site, [], mfa=False)["refuse"][0]
    assert "not names" in bastion.plan(site, [], shells=["a b"])["refuse"][0]


@pytest.fixture
def follower():
    spec = importlib.util.spec_from_file_location("passages", READER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = []
    one = module.Follower(lambda line: lines.append(line.strip()))
    one.lines = lines
    return one


TARGET = "debug1: serverloop.c:server_request_direct_tcpip():453 (pid=12): originator ::1 port 1, target {} port 22"
DENIED = "Received request from 10.0.0.9 port 5000 to connect to host {} port 22, but the request was denied."


def test_a_session_from_login_to_logout(follower):
    follower.take("t1", 11, "Accepted publickey for bob from 10.0.0.9 port 5000 ssh2: ED25519 SHA256:x", True)
    follower.take("t1", 11, "Accepted keyboard-interactive/pam for bob from 10.0.0.9 port 5000 ssh2", True)
    follower.take("t2", 11, "User child is on pid 12", True)
    follower.take("t3", 12, TARGET.format("w"), False)
    follower.settle()
    follower.take("t4", 12, TARGET.format("x"), False)
    follower.take("t4", 12, DENIED.format("x"), False)
    follower.take("t5", 12, TARGET.format("d"), False)
    follower.take("t6", 12, "Connection closed by 10.0.0.9 port 5000", False)
    follower.take("t6", 12, "Transferred: sent 30, received 40 bytes", False)
    follower.take("t6", 11, "pam_unix(sshd:session): session closed for user bob", True)
    who = "person=bob source=10.0.0.9:5000 session=11"
    assert follower.lines == [
        f"t1 login {who} method=publickey", f"t3 passage {who} target=w:22", f"t4 refused {who} target=x:22",
        f"t5 passage {who} target=d:22", f"t6 logout {who} began=t1 sent=30 received=40",
    ]  # fmt: skip
    assert follower.sessions == {}


def test_lines_that_are_not_roots_begin_and_end_nothing(follower):
    follower.take("t1", 66, "Accepted publickey for root from 10.0.0.9 port 1 ssh2", False)
    follower.take("t1", 66, TARGET.format("w"), False)
    follower.take("t2", 11, "Accepted publickey for bob from 10.0.0.9 port 5000 ssh2", True)
    follower.take("t2", 11, "User child is on pid 66", False)
    follower.take("t3", 66, TARGET.format("w"), False)
    follower.take("t4", 11, "pam_unix(sshd:session): session closed for user bob", False)
    follower.settle()
    assert [line.split()[1] for line in follower.lines] == ["login"]
