# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.rampart.hardening.plugins.lookup import controls as lookup
from ansible_collections.rampart.hardening.plugins.plugin_utils import policy

CONTROLS = {
    "ssh.root_login": {"id": "ssh.root_login", "level": 1, "role": "ssh"},
    "ssh.forwarding": {"id": "ssh.forwarding", "level": 2, "role": "ssh"},
    "firewall.input": {"id": "firewall.input", "level": 1, "role": "firewall"},
}
WAIVER = {"control": "ssh.root_login", "hosts": ["web"], "reason": "r", "owner": "alice", "until": "2999-01-31"}


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(policy, "load_controls", lambda: CONTROLS)

    def call(*terms, **variables):
        names = {
            "inventory_hostname": "web1",
            "group_names": ["web"],
            "groups": {"all": ["web1", "db1"], "web": ["web1"]},
        }
        names.update(variables)
        plugin = lookup.LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=names))
        (ids,) = plugin.run(list(terms), names)
        return ids

    return call


def test_one_role_or_all(run):
    assert run("ssh") == ["ssh.root_login"]
    assert run() == ["ssh.root_login", "firewall.input"]
    assert run("ssh", hardening_level=2) == ["ssh.root_login", "ssh.forwarding"]


def test_waived_here_and_not_elsewhere(run):
    assert run("ssh", hardening_waivers=[WAIVER]) == []
    assert run("ssh", hardening_waivers=[WAIVER], inventory_hostname="db1", group_names=[]) == ["ssh.root_login"]


def test_an_expired_waiver_warns_and_enforces(run, monkeypatch):
    warnings = []
    monkeypatch.setattr(lookup.display, "warning", warnings.append)
    assert run("ssh", hardening_waivers=[{**WAIVER, "until": "2020-01-31"}]) == ["ssh.root_login"]
    assert warnings == [
        "The waiver of ssh.root_login on web (owner alice) expired on 2020-01-31: the control is enforced again."
    ]


@pytest.mark.parametrize(
    "terms, variables, message",
    [
        (["shh"], {}, "no role of this collection declares controls as shh"),
        (["ssh"], {"hardening_level": 4}, "hardening_level is 1 or 2"),
        (["ssh"], {"hardening_waivers": [{**WAIVER, "hosts": ["wbe"]}]}, "no host or group wbe"),
    ],
)
def test_errors_are_clear(run, terms, variables, message):
    with pytest.raises(AnsibleError, match=message):
        run(*terms, **variables)
