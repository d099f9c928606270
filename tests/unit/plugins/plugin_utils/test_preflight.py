# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every refusal of the preflight, each with a message that says what to add to the inventory."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.rampart.hardening.plugins.action import preflight as action
from ansible_collections.rampart.hardening.plugins.plugin_utils import preflight


def key(kind="ssh-ed25519", inner=None):
    inner = (inner or kind).encode()
    blob = len(inner).to_bytes(4, "big") + inner + b"\0\0\0\x20" + b"k" * 32
    return f"{kind} {base64.b64encode(blob).decode()} somebody@desk"


ALICE = {"name": "alice", "ssh_keys": [key()], "sudo": True}
BOB = {"name": "bob", "ssh_keys": [key("sk-ssh-ed25519@openssh.com")]}
AUTOMATION = {"name": "automation", "ssh_keys": [key()]}


def policy(**more):
    return {
        "admins": [ALICE, BOB], "automation": AUTOMATION, "level": 1, "disabled": ["test", "guest"],
        "bootstrap_user": "root", "controllers": ["192.0.2.1/32"], "automation_from": ["192.0.2.0/24", "2001:db8::/64"],
        **more,
    }  # fmt: skip


def accounts(connected="automation", **more):
    return "; ".join(preflight.accounts_trouble(policy(**more), connected))


@pytest.mark.parametrize("connected", ["automation", "root", ""])
@pytest.mark.parametrize("level", [1, 2, "2"])
def test_a_sound_policy_is_not_refused(connected, level):
    assert not accounts(connected, level=level)
    assert not preflight.source_trouble(policy(), "192.0.2.7", 22, True)
    assert not preflight.source_trouble(policy(), "2001:db8::7", 22, None)


@pytest.mark.parametrize(
    "admins",
    [
        [], None, "alice", ["alice"], [{}],
        [{**ALICE, "name": "root"}], [{**ALICE, "name": ""}], [{"name": "alice"}],
        [{**ALICE, "state": "absent"}], [{**ALICE, "sudo": False}],
        [{**ALICE, "ssh_keys": []}], [{**ALICE, "ssh_keys": key()}], [{**ALICE, "ssh_keys": ["x"]}],
    ],
)  # fmt: skip
def test_nobody_but_root_could_get_in(admins):
    said = accounts(admins=admins)
    assert "no named administrator besides root could get in" in said
    assert 'hardening_admins: [{name: alice, ssh_keys: ["ssh-ed25519' in said


@pytest.mark.parametrize(
    ("second", "level", "refused"),
    [
        ([], 2, True), ([], "2", True), ([], 1, False), ([BOB], 2, False),
        ([{**BOB, "sudo": False}], 2, True), ([{**BOB, "ssh_keys": ["ssh-ed25519 A"]}], 2, True),
    ],
)  # fmt: skip
def test_level_2_wants_a_second_administrator(second, level, refused):
    said = accounts(admins=[ALICE, *second], level=level)
    assert ("level 2 wants a second administrator, should alice lose the key" in said) is refused


@pytest.mark.parametrize(
    "automation",
    [{}, None, "automation", {"name": "automation"}, {"ssh_keys": [key()]}, {**AUTOMATION, "ssh_keys": ["x"]}],
)
def test_there_is_no_automation_account(automation):
    said = accounts(automation=automation)
    assert "no automation account" in said
    assert "hardening_automation: {name: automation, ssh_keys:" in said


@pytest.mark.parametrize("name", ["root", "test"])
def test_the_automation_account_is_one_to_be_locked(name):
    said = accounts(automation={**AUTOMATION, "name": name})
    assert f"the automation account {name} is itself an account to be locked" in said
    assert "give hardening_automation another name" in said


@pytest.mark.parametrize(("connected", "bootstrap", "refused"), [
    ("root", "", True), ("test", "root", True), ("root", "root", False), ("alice", "", False), ("debian", "", False),
])  # fmt: skip
def test_the_run_is_connected_as_an_account_to_be_locked(connected, bootstrap, refused):
    said = accounts(connected, bootstrap_user=bootstrap)
    assert (f"this run is connected as {connected}, which is to be locked" in said) is refused
    assert ("set ansible_user: automation in the inventory" in said) is refused


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ssh-ed25519 AAAAC3Nz…", "cut off or damaged"),
        ("ssh-ed25519", "cut off or damaged"),
        (key()[:60], "cut off or damaged"),
        (key()[: len("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AA==")], "cut off or damaged"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "cut off or damaged"),
        ("ssh-ed25519 AAAA", "cut off or damaged"),
        (key("ssh-ed25519", "ssh-rsa"), "the key says ssh-ed25519 and is 'ssh-rsa'"),
        ("ssh-dss AAAA", "no key type that the SSH server accepts"),
        ("/home/alice/.ssh/id_ed25519.pub", "no key type that the SSH server accepts"),
        ("", "no key type that the SSH server accepts"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_with_its_owner(line, words):
    assert words in preflight.key_trouble(line)
    said = accounts(admins=[ALICE, {**BOB, "ssh_keys": [key(), line]}])
    assert "hardening_admins: bob has a key that cannot be used: " in said
    assert words in said
    assert "hardening_automation: automation has a key" in accounts(automation={**AUTOMATION, "ssh_keys": [line]})


@pytest.mark.parametrize("options", ["", 'from="192.0.2.1",restrict ', 'command="a b" '])
@pytest.mark.parametrize("kind", preflight.KEY_TYPES)
def test_keys_of_every_kind_with_options_are_usable(kind, options):
    assert preflight.key_trouble(options + key(kind)) is None


def test_the_flows_would_shut_the_run_out():
    said = "; ".join(preflight.source_trouble(policy(), "192.0.2.7", 2222, False))
    assert "it reaches the host from 192.0.2.7 on port 2222" in said
    assert "Add to hardening_flows: {from: jump, to: …, port: 2222}" in said


@pytest.mark.parametrize("client", ["198.51.100.7", "2001:db8:1::7"])
def test_the_automation_account_would_be_refused_from_here(client):
    said = "; ".join(preflight.source_trouble(policy(), client, 22, True))
    assert f"this run reaches the host from {client}" in said
    assert "it may come only from 192.0.2.0/24, 2001:db8::/64" in said
    assert "hardening_automation.from" in said


def test_nothing_is_said_of_sources_where_none_is_known_or_demanded():
    assert not preflight.source_trouble(policy(), "", 22, False)
    assert not preflight.source_trouble(policy(automation_from=[]), "198.51.100.7", 22, None)


@pytest.mark.parametrize(("address", "network", "within"), [
    ("192.0.2.7", "192.0.2.0/24", True), ("192.0.2.7", "192.0.2.7", True), ("192.0.2.7", "192.0.2.1/24", True),
    ("192.0.3.7", "192.0.2.0/24", False), ("2001:db8::1", "2001:db8::/64", True), ("192.0.2.7", "::/0", False),
    ("nonsense", "192.0.2.0/24", False), ("192.0.2.7", "jump.example", False), ("fe80::1%eth0", "fe80::/10", True),
])  # fmt: skip
def test_within(address, network, within):
    assert preflight.within(address, network) is within


# --- what the action makes of inventory and survey


def judged(client, host="web", roles=("ssh", "firewall"), **variables):
    """The refusals for a run that reaches `host` from `client`, where jump servers may reach everything."""
    inner = object.__new__(action.ActionModule)
    inner._templar = type("Templar", (), {"template": staticmethod(lambda value: value)})
    inner._get_remote_user = lambda: "automation"
    connection = {"client": client, "port": 22}
    system = {"os_family": "Debian", "connection": connection, "addresses": ["192.0.2.20"]}
    return "; ".join(inner.refusals({"system": system}, {
        "inventory_hostname": host, "groups": {"all": ["jump1", "web"], "jump": ["jump1"]},
        "hostvars": {"jump1": {"ansible_host": "192.0.2.10"}, "web": {"ansible_host": "192.0.2.20"}},
        "ansible_play_role_names": [f"rampart.hardening.{role}" for role in roles],
        "hardening_admins": [ALICE, BOB], "hardening_automation": AUTOMATION, "hardening_controllers": ["203.0.113.1"],
        "hardening_flows": [{"from": source, "to": "all", "port": 22} for source in ("jump", "controllers")],
        **variables,
    }))  # fmt: skip


NO_WAY, NO_SOURCE = "the flows would not let this run back in", "the automation account would be refused"


def test_sources_are_those_that_the_ssh_role_will_let_in():
    assert judged("192.0.2.10") == judged("203.0.113.1") == judged("203.0.113.1", host="jump1") == ""
    assert NO_SOURCE in judged("192.0.2.10", host="jump1")  # on a jump server only the controllers count
    own = {**AUTOMATION, "from": ["192.0.2.10"]}
    assert judged("192.0.2.10", host="jump1", hardening_automation=own) == ""
    assert NO_SOURCE in judged("203.0.113.1", hardening_automation=own)
    assert NO_SOURCE not in judged("198.51.100.7", roles=["firewall"])


def test_the_firewall_roles_own_variables_count():
    assert NO_WAY in judged("198.51.100.7", roles=["firewall"])
    assert judged("198.51.100.7", roles=["firewall"], firewall_controllers=["198.51.100.0/24"]) == ""
    assert NO_WAY in judged("192.0.2.10", roles=["firewall"], firewall_flows=[])
    assert judged("198.51.100.7", roles=["admin_accounts"]) == ""


def test_a_system_that_the_roles_do_not_know_is_refused_by_name():
    assert preflight.system_trouble({"os_family": "Debian", "name": "Debian GNU/Linux 13 (trixie)"}) == []
    (said,) = preflight.system_trouble({"os_family": "RedHat", "name": "Fedora Linux 43"})
    assert "Fedora Linux 43" in said
    assert preflight.system_trouble({})
