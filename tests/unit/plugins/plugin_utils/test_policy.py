# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime

import pytest
import yaml
from ansible_collections.rampart.hardening.plugins.plugin_utils import policy

TODAY = datetime.date(2026, 11, 24)
CONTROLS = {
    "ssh.root_login": {"id": "ssh.root_login", "level": 1, "role": "ssh"},
    "ssh.forwarding": {"id": "ssh.forwarding", "level": 2, "role": "ssh"},
    "firewall.input": {"id": "firewall.input", "level": 1, "role": "firewall"},
}
INVENTORY = {"all", "web", "web1", "db1"}


def waiver(**changes):
    entry = {"control": "ssh.root_login", "hosts": ["web"], "reason": "r", "owner": "alice", "until": "2027-01-31"}
    entry.update(changes)
    return {key: value for key, value in entry.items() if value is not None}


def check(*waivers):
    return policy.check_waivers(list(waivers), CONTROLS, INVENTORY, TODAY)


def test_level_one_leaves_level_two_out():
    assert policy.in_force(CONTROLS, 1, [], "web1", ["web"]) == ["ssh.root_login", "firewall.input"]
    assert policy.in_force(CONTROLS, 2, [], "web1", ["web"]) == list(CONTROLS)


@pytest.mark.parametrize("hosts", [["web"], ["web1"], ["all"], "web1"])
def test_waiver_takes_its_control_out_on_the_hosts_it_names_only(hosts):
    waivers = check(waiver(hosts=hosts))
    assert "ssh.root_login" not in policy.in_force(CONTROLS, 1, waivers, "web1", ["web"])
    assert ("ssh.root_login" in policy.in_force(CONTROLS, 1, waivers, "db1", [])) == (hosts != ["all"])


@pytest.mark.parametrize(
    "until, days_left, expired",
    [
        ("2026-11-24", 0, False),
        ("2026-11-23", -1, True),
        (datetime.date(2026, 12, 4), 10, False),
        (datetime.datetime(2026, 11, 20, 12), -4, True),
    ],
)
def test_waiver_holds_through_its_last_day(until, days_left, expired):
    (checked,) = waivers = check(waiver(until=until))
    assert (checked["days_left"], checked["expired"]) == (days_left, expired)
    assert ("ssh.root_login" in policy.in_force(CONTROLS, 1, waivers, "web1", ["web"])) == expired


def test_a_valid_waiver_counts_beside_an_expired_one():
    waivers = check(waiver(until="2025-01-01"), waiver())
    assert "ssh.root_login" not in policy.in_force(CONTROLS, 1, waivers, "web1", ["web"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"control": "ssh.nothing"}, r"entry 1 \(ssh.nothing\): there is no control of this name"),
        ({"control": None}, r"entry 1 \(no control\): control is missing"),
        ({"owner": None}, r"\(ssh.root_login\): owner is missing"),
        ({"owner": "  "}, r"\(ssh.root_login\): owner is missing"),
        ({"reason": ""}, r"\(ssh.root_login\): reason is missing"),
        ({"hosts": []}, r"\(ssh.root_login\): hosts is missing"),
        ({"hosts": {"web": 1}}, r"\(ssh.root_login\): hosts is a list"),
        ({"until": None}, r"\(ssh.root_login\): until is missing"),
        ({"until": "2027-02-30"}, r"\(ssh.root_login\): until is a date .* not 2027-02-30"),
        ({"until": "soon"}, r"\(ssh.root_login\): until is a date .* not soon"),
        ({"until": 20270131}, r"\(ssh.root_login\): until is a date"),
        ({"hosts": ["web", "wbe"]}, r"\(ssh.root_login\): the inventory has no host or group wbe"),
        ({"expires": "2027-01-31"}, r"\(ssh.root_login\): unknown key expires"),
        ({"reason": ["r"]}, r"\(ssh.root_login\): reason is text"),
    ],
)
def test_a_wrong_waiver_is_refused_by_name(changes, message):
    with pytest.raises(policy.PolicyError, match=message):
        check(waiver(**changes))


@pytest.mark.parametrize("waivers", ["ssh.root_login", {"control": "ssh.root_login"}, ["ssh.root_login"]])
def test_waivers_of_another_shape_are_refused(waivers):
    with pytest.raises(policy.PolicyError, match="hardening_waivers"):
        policy.check_waivers(waivers, CONTROLS, INVENTORY, TODAY)


def test_level_is_one_or_two():
    assert policy.check_level("2") == 2
    for level in (0, 3, "high", None, 1.5, True):
        with pytest.raises(policy.PolicyError, match="hardening_level"):
            policy.check_level(level)


def declare(root, **roles):
    for role, controls in roles.items():
        (root / role / "meta").mkdir(parents=True)
        (root / role / "meta" / "controls.yml").write_text(yaml.safe_dump({"controls": controls}))
    return root


def control(name, **changes):
    entry = {"id": name, "title": "t", "why": "w", "level": 1, "references": []}
    entry.update(changes)
    return {key: value for key, value in entry.items() if value is not None}


def test_controls_are_read_with_their_role(tmp_path):
    roles = declare(tmp_path, admin_accounts=[control("accounts.root")], ssh=[control("ssh.root", may_break="x")])
    assert {name: entry["role"] for name, entry in policy.load_controls(roles).items()} == {
        "accounts.root": "admin_accounts",
        "ssh.root": "ssh",
    }


@pytest.mark.parametrize(
    "roles, message",
    [
        ({"ssh": [control("ssh.a"), control("ssh.a")]}, "control ssh.a is declared twice"),
        ({"ssh": [control("ssh.a"), control("sshd.b")]}, "all ids of a role share one concern"),
        ({"aaa": [control("ssh.a")], "ssh": [control("ssh.b")]}, r"ssh.\* belongs to role aaa"),
        ({"ssh": [control("ssh-a")]}, "an id is <concern>.<name>"),
        ({"ssh": [control("ssh.a", level=3)]}, "control ssh.a: level is 1 or 2"),
        ({"ssh": [control("ssh.a", why=" ")]}, "control ssh.a: why"),
        ({"ssh": [control("ssh.a", references=[5])]}, "control ssh.a: references"),
        ({"ssh": [control("ssh.a", references=None)]}, "control ssh.a: references"),
        ({"ssh": [control("ssh.a", refs=[])]}, "control ssh.a: unknown key refs"),
        ({"ssh": [control("ssh.a", may_break=["x"])]}, "control ssh.a: may_break"),
        ({"ssh": ["ssh.a"]}, "a control is a mapping"),
        ({"ssh": []}, "roles/ssh/meta/controls.yml: no list of controls"),
    ],
)
def test_wrong_controls_are_refused(tmp_path, roles, message):
    with pytest.raises(policy.PolicyError, match=message):
        policy.load_controls(declare(tmp_path, **roles))
