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
# Ansible gets everywhere, from elsewhere
REACHED = {"from": "192.0.2.0/24", "to": "all", "port": 22}


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
    assert bastion.destinations([*flows, REACHED], "j1", GROUPS, HOSTVARS) == places


def test_a_range_too_wide_to_list_is_refused():
    with pytest.raises(FlowError, match="more than a jump server can list"):
        bastion.destinations([{"from": "jump", "to": "db", "port": "1000-9000"}, REACHED], "j1", GROUPS, HOSTVARS)


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


T, S = 1_800_000_000_000_000, 1_000_000  # 2027-01-15T08:00:00Z and a second, in microseconds


def at(seconds):
    return f"2027-01-15T08:00:{seconds:02}Z"


TARGET = "debug1: serverloop.c:server_request_direct_tcpip():453 (pid=12): originator ::1 port 1, target {} port 22"
DENIED = "Received request from 10.0.0.9 port 5000 to connect to host {} port 22, but the request was denied."


def test_a_session_from_login_to_logout(follower):
    follower.take(T + 1 * S, 11, "Accepted publickey for bob from 10.0.0.9 port 5000 ssh2: ED25519 SHA256:x", True)
    follower.take(T + 1 * S, 11, "Accepted keyboard-interactive/pam for bob from 10.0.0.9 port 5000 ssh2", True)
    follower.take(T + 2 * S, 11, "User child is on pid 12", True)
    follower.take(T + 3 * S, 12, TARGET.format("w"), False)
    follower.settle(T + 3 * S)
    assert len(follower.lines) == 1  # it may still be refused
    follower.settle(T + 4 * S)
    follower.take(T + 4 * S, 12, TARGET.format("x"), False)
    follower.take(T + 4 * S, 12, DENIED.format("x"), False)
    follower.take(T + 5 * S, 12, TARGET.format("d"), False)
    follower.take(T + 6 * S, 12, "Connection closed by 10.0.0.9 port 5000", False)
    follower.take(T + 6 * S, 12, "Transferred: sent 30, received 40 bytes", False)
    follower.take(T + 6 * S, 11, "pam_unix(sshd:session): session closed for user bob", True)
    who = "person=bob source=10.0.0.9:5000 session=11"
    assert follower.lines == [
        f"{at(1)} login {who} method=publickey", f"{at(3)} passage {who} target=w:22",
        f"{at(4)} refused {who} target=x:22", f"{at(5)} passage {who} target=d:22",
        f"{at(6)} logout {who} began={at(1)} sent=30 received=40",
    ]  # fmt: skip
    assert follower.sessions == {}


def test_lines_that_are_not_roots_begin_and_end_nothing(follower):
    follower.take(T + 1 * S, 66, "Accepted publickey for root from 10.0.0.9 port 1 ssh2", False)
    follower.take(T + 1 * S, 66, TARGET.format("w"), False)
    follower.take(T + 2 * S, 11, "Accepted publickey for bob from 10.0.0.9 port 5000 ssh2", True)
    follower.take(T + 2 * S, 11, "User child is on pid 66", False)
    follower.take(T + 3 * S, 66, TARGET.format("w"), False)
    follower.take(T + 4 * S, 11, "pam_unix(sshd:session): session closed for user bob", False)
    follower.settle(T + 9 * S)
    assert [line.split()[1] for line in follower.lines] == ["login"]


def test_a_refusal_is_told_of_whoever_was_refused(follower):
    for pid, name in ((11, "bob"), (21, "carol")):
        follower.take(T, pid, f"Accepted publickey for {name} from 10.0.0.9 port {pid} ssh2", True)
        follower.take(T, pid, f"User child is on pid {pid + 1}", True)
    follower.take(T + 1, 12, TARGET.format("x"), False)
    follower.take(T + 2, 22, TARGET.format("d"), False)  # of another session, before the answer to the first
    follower.take(T + 3, 12, DENIED.format("x"), False)
    follower.settle(T + 9 * S)
    events = [line.split()[1:3] for line in follower.lines]
    assert events[2:] == [["refused", "person=bob"], ["passage", "person=carol"]]


def test_a_session_that_was_open_before_the_reader_came_is_known(follower):
    follower.since = T + 3 * S
    follower.take(T + 1 * S, 11, "Accepted publickey for bob from 10.0.0.9 port 5000 ssh2", True)
    follower.take(T + 2 * S, 11, "User child is on pid 12", True)
    follower.take(T + 3 * S, 12, TARGET.format("w"), False)
    follower.take(T + 4 * S, 12, TARGET.format("d"), False)
    follower.settle(T + 9 * S)
    assert follower.lines == [f"{at(4)} passage person=bob source=10.0.0.9:5000 session=11 target=d:22"]


def test_a_place_that_would_be_the_jump_server_itself_is_not_listed():
    hosts = {**HOSTVARS, "d": {"ansible_host": "127.0.0.1", "hardening_addresses": ["10.0.2.1"]}}
    places = bastion.destinations([{"from": "jump", "to": ["db", "web"], "port": 22}], "j1", GROUPS, hosts)
    assert [place for place in places if place.startswith(("d", "127", "10.0.2"))] == ["d:22", "10.0.2.1:22"]


@pytest.mark.parametrize(
    ("flows", "lost"),
    [
        ([], "d:22, w:22"),
        ([{"from": "jump", "to": "web", "port": 22}, {"from": "jump", "to": "db", "port": 3306}], "d:22"),
        ([{"from": "web", "to": "all", "port": 22}], "d:22, w:22"),
        ([{"from": "jump", "to": "all", "port": 22}], ""),
        ([{"from": "j2", "to": "all", "port": 22}], ""),
        ([{"from": "10.9.0.0/24", "to": "all", "port": "20-30"}], ""),
    ],
)
def test_flows_that_would_cut_ansible_off_are_refused(flows, lost):
    hosts = {**HOSTVARS, "gone": {"ansible_connection": "local"}}
    groups = {**GROUPS, "all": [*GROUPS["all"], "gone"]}
    if lost:
        with pytest.raises(FlowError, match=f"no flow opens the SSH port of {lost} "):
            bastion.destinations(flows, "j1", groups, hosts)
    else:
        bastion.destinations(flows, "j1", groups, hosts)


@pytest.mark.parametrize("more", [{"value": "none"}, {"match": "Match User acme Address 10.0.0.0/8"}])
def test_a_command_that_is_not_always_forced_is_no_reason_for_a_shell(more):
    assert bastion.plan(survey({**directive("Match User acme"), **more}), [])["spared"] == []


# --- addresses that fail

CONTROLLER, OTHER = "192.0.2.4", "10.0.0.2"
# As Debian 12 ships it
SHIPPED = {"enabled": "true", "port": "ssh", "filter": "%(__name__)s[mode=%(mode)s]", "mode": "normal", "maxretry": "5",
           "findtime": "10m", "bantime": "10m"}  # fmt: skip
STRICT = {"enabled": "true", "mode": "aggressive", "banaction": "nftables", "maxretry": "3", "findtime": "1h",
          "bantime": "1h 30m", "ignoreip": f"127.0.0.1/8, {CONTROLLER}/32 10.0.0.0/24 vpn.example.org"}  # fmt: skip


def jump(own=(), version=(9, 2), ports=(22,), capable=True, **state):
    seen = {"installed": ["netbase"], "running": False, "enabled": False, "ours": False, **state}
    seen |= {"settings": {**SHIPPED, **dict(own)}, "own": dict.fromkeys(own, "jail.local")}
    config = {"directives": [], "files": [], "text": "", "path": "", "real": "", "exists": True}
    return {
        **survey(), "fail2ban": seen, "firewall": {"capable": capable, "nft": "1.0.6"}, "system": {"init": "systemd"},
        "ssh": {"installed": True, "version": list(version), "config": config, "ports": list(ports), "error": "",
                "effective": {}, "binary": "sshd", "command_lines": []},
    }  # fmt: skip


def shutting(seen, never=(CONTROLLER, OTHER), **more):
    return bastion.plan(seen, [], bans={"tries": 20, "seconds": 600, "never": never, **more})


def change(seen, **more):
    return bastion.change(seen, shutting(seen, **more), sshd="", contents={"jail": "[sshd]\n"})


def test_addresses_are_shut_out_by_fail2ban_where_sshd_cannot():
    plan = shutting(jump(ports=(22, 2222)))
    assert plan["packages"] == ["fail2ban", "python3-systemd"] and plan["fail2ban"]
    assert plan["jail"] == {
        "maxretry": 20, "findtime": 600, "bantime": 600, "maxtime": 14400, "ports": ["22", "2222"], "action": True,
        "ignoreip": ["127.0.0.0/8", "::1", CONTROLLER, OTHER],
    }  # fmt: skip
    assert shutting(jump(installed=["fail2ban", "python3-systemd"]))["packages"] == []


@pytest.mark.parametrize("seen", [jump(version=(9, 8)), jump(version=(10, 0)), jump(capable=False)])
def test_elsewhere_there_is_no_fail2ban(seen):
    plan = shutting(seen)
    assert (plan["fail2ban"], plan["jail"], plan["packages"]) == (False, {}, [])
    assert bastion.plan(jump(), [])["fail2ban"] is False  # waived
    done = bastion.change(seen, plan, sshd="", contents={"jail": ""})
    assert "fail2ban" not in str(done["activate"] + done["active"] + done["validate"])


def test_a_jail_of_the_sites_own_that_is_as_strict_stays_as_it_is():
    plan = shutting(jump(STRICT))
    assert plan["jail"] == {} and "stays as it is" in plan["notes"][0] and plan["fail2ban"]
    files = change(jump(STRICT))["files"]
    assert [one.get("state") for one in files if one["path"] == bastion.OUR_JAIL] == ["absent"]


@pytest.mark.parametrize(
    ("weaker", "ours"),
    [
        ({"enabled": "false"}, {"maxretry": 3, "findtime": 3600, "bantime": 5400, "maxtime": 129600}),
        ({"mode": "normal"}, {"maxretry": 3}),
        ({"maxretry": "21"}, {"maxretry": 20, "findtime": 3600}),
        ({"maxretry": "many"}, {"maxretry": 20}),
        ({"findtime": "9m"}, {"findtime": 600, "bantime": 5400}),
        ({"bantime": "300"}, {"bantime": 600}),
        ({"bantime": "-1"}, {"bantime": 600}),  # for good
        ({"bantime": "5w"}, {"bantime": 600, "maxtime": 14400}),
        ({"bantime": "6d"}, {"bantime": 518400, "maxtime": 604800}),
        ({"bantime.increment": "true"}, {"bantime": 5400}),  # without an end
        ({"bantime.increment": "true", "bantime.maxtime": "2d", "port": "2222"}, {"maxtime": 172800, "ports": ["22"]}),
        ({"ignoreip": "10.0.0.0/24"},
         {"maxretry": 3, "ignoreip": ["127.0.0.0/8", "::1", CONTROLLER, OTHER, "10.0.0.0/24"]}),
        ({"port": "2222"}, {"ports": ["22"]}),
        ({"mode": "normal"}, {"action": False}),
    ],
)  # fmt: skip
def test_what_of_the_sites_own_jail_is_stricter_is_taken_over(weaker, ours):
    plan = shutting(jump({**STRICT, **weaker}) if weaker != {"bantime": "6d"} else jump(weaker))
    assert {key: plan["jail"].get(key) for key in ours} == ours


@pytest.mark.parametrize("lacks", ["netbase", "iptables"])
def test_a_jail_that_cannot_shut_anybody_out_is_not_as_strict(lacks):
    """Debian's names a port, and uses iptables; a small system has neither."""
    own = {key: value for key, value in STRICT.items() if key != "banaction"}
    there = ["fail2ban", "iptables", "netbase", "python3-systemd"]
    assert shutting(jump(own, installed=there))["jail"] == {}
    assert shutting(jump(own, installed=[one for one in there if one != lacks]))["jail"]["maxretry"] == 3


def test_what_is_overridden_is_told():
    own = {"enabled": "true", "maxretry": "30", "bantime": "-1", "findtime": "1h", "mode": "normal"}
    told = [f"overrides jail.local: {key} of the jail sshd" for key in ("maxretry", "bantime", "mode")]
    assert shutting(jump(own))["notes"] == told


def test_what_is_no_address_is_refused():
    assert shutting(jump(), never=["10.0.0.0/24", "office"])["refuse"] == [
        "bastion_never_banned: 'office' is no address or network"]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "ours_gone"),
    [
        ({}, ["disable", "--now"]),
        ({"enabled": True}, ["stop"]),  # as Debian's, which finds no log
        ({"enabled": True, "running": True}, ["restart"]),
        ({"ours": True, "enabled": True, "running": True}, ["stop"]),  # the change before knows what there was
        ({"ours": True, "enabled": True, "running": True, "own": STRICT}, ["restart"]),
    ],
)
def test_fail2ban_is_left_as_it_was_found(state, ours_gone):
    done = change(jump(**state))
    assert done["revert"][-1][4:] == ours_gone
    assert "restart fail2ban" in done["activate"][-1][2] and ["fail2ban-client", "-t"] in done["validate"]


def test_where_sshd_has_learnt_it_fail2ban_goes():
    done = change(jump(version=(10, 0), ours=True, enabled=True, running=True))
    assert done["activate"][-1][4:] == ["disable", "--now"] and "enable" in done["revert"][-1][2]
    assert {"path": bastion.OUR_JAIL, "state": "absent"} in done["files"]
