# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows as f

GROUPS = {
    "all": ["j1", "w1", "w2", "d1", "lonely", "10.7.7.7"],
    "jump": ["j1"],
    "web": ["w1", "w2"],
    "db": ["d1"],
    "d1": ["d1"],
    "vagrant": ["lonely"],
    "empty": [],
}
ADDRESSES = {
    "j1": ["192.0.2.1", "2001:db8::1"],
    "w1": ["10.0.1.1", "fd00::1:1"],
    "w2": ["w2.example"],
    "d1": ["10.0.2.1"],
    "lonely": ["127.0.0.1"],
    "10.7.7.7": ["10.7.7.7"],
}
NAMES = {"w2.example": ("10.0.1.2", "fd00::1:2")}


def inventory(groups=None, addresses=None, controllers=("198.51.100.0/24", "2001:db8:c::9")):
    known = ADDRESSES if addresses is None else addresses
    return f.Inventory(
        GROUPS if groups is None else groups, lambda host: known[host], controllers, lambda name: NAMES.get(name, ())
    )


def ingress(host, *flows, **kwargs):
    return f.compile_flows(list(flows), host, inventory(**kwargs))["ingress"]


def test_a_group_becomes_the_addresses_of_its_hosts():
    assert ingress("d1", {"from": "web", "to": "db", "port": 3306}) == [
        {
            "proto": "tcp",
            "ports": [[3306, 3306]],
            "peers": ["10.0.1.1", "10.0.1.2", "fd00::1:1", "fd00::1:2"],
            "flows": ["web to db"],
        }
    ]


def test_a_host_gets_only_what_leads_to_it():
    flow = {"from": "web", "to": "db", "port": 3306}
    assert ingress("w1", flow) == []
    assert ingress("j1", flow) == []


@pytest.mark.parametrize(
    ("source", "peers"),
    [
        ("any", ["0.0.0.0/0", "::/0"]),
        ("controllers", ["198.51.100.0/24", "2001:db8:c::9"]),
        ("j1", ["192.0.2.1", "2001:db8::1"]),
        ("203.0.113.0/24", ["203.0.113.0/24"]),
        ("2001:DB8:0::/48", ["2001:db8::/48"]),
        ("::ffff:203.0.113.9", ["203.0.113.9"]),
        ("10.7.7.7", ["10.7.7.7"]),
        (["db", "10.0.0.0/16"], ["10.0.0.0/16"]),
        (["jump", "any"], ["0.0.0.0/0", "::/0"]),
        (["10.0.2.1", "d1", "10.0.3.0/24"], ["10.0.2.1", "10.0.3.0/24"]),
    ],
)
def test_sources(source, peers):
    assert ingress("w1", {"from": source, "to": "web", "port": 80})[0]["peers"] == peers


@pytest.mark.parametrize(
    ("port", "ports"),
    [
        (22, [[22, 22]]),
        ("22", [[22, 22]]),
        ("8000-8100", [[8000, 8100]]),
        ([443, 80, "80"], [[80, 80], [443, 443]]),
        (["90-100", "80-95", 100], [[80, 100]]),
        ("1-65535", [[1, 65535]]),
    ],
)
def test_ports(port, ports):
    assert ingress("w1", {"from": "any", "to": "web", "port": port})[0]["ports"] == ports


def test_the_same_source_and_protocol_is_one_rule():
    rules = ingress(
        "w1",
        {"from": "any", "to": "web", "port": 443},
        {"from": "jump", "to": "all", "port": 22},
        {"from": "any", "to": "w1", "port": 80},
        {"from": "any", "to": "web", "port": 443, "proto": "udp"},
    )
    assert [(rule["proto"], rule["ports"], rule["flows"]) for rule in rules] == [
        ("tcp", [[22, 22]], ["jump to all"]),
        ("tcp", [[80, 80], [443, 443]], ["any to web", "any to w1"]),
        ("udp", [[443, 443]], ["any to web"]),
    ]


def test_the_order_in_which_things_are_declared_does_not_matter():
    flows = [
        {"from": ["web", "jump"], "to": ["db", "web"], "port": [3306, 22]},
        {"from": "controllers", "to": "all", "port": "1-9"},
        {"from": "jump", "to": "all", "proto": "icmp"},
    ]
    turned = {name: list(reversed(hosts)) for name, hosts in reversed(GROUPS.items())}
    addresses = {name: list(reversed(found)) for name, found in ADDRESSES.items()}
    assert ingress("d1", *flows) == ingress("d1", *reversed(flows), groups=turned, addresses=addresses)


def test_only_what_a_host_needs_is_resolved():
    asked = []
    known = f.Inventory(GROUPS, lambda host: asked.append(host) or ADDRESSES[host], resolver=lambda name: ())
    f.compile_flows([{"from": "jump", "to": "all", "port": 22}, {"from": "web", "to": "db", "port": 1}], "w1", known)
    assert asked == ["j1"]


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (
            {"from": "wbe", "to": "db", "port": 1},
            "entry 1 (from): no group, host or network is called 'wbe'; did you mean 'web'?",
        ),
        (
            {"from": "web", "to": "dbs", "port": 1},
            "entry 1 (to): no group, host or network is called 'dbs'; did you mean 'db'?",
        ),
        ({"from": "empty", "to": "db", "port": 1}, "entry 1 (from): group 'empty' has no hosts"),
        ({"from": "web", "to": "empty", "port": 1}, "entry 1 (to): group 'empty' has no hosts"),
        (
            {"from": "vagrant", "to": "db", "port": 1},
            "entry 1 (from): 'vagrant' has no address; set hardening_addresses",
        ),
        ({"from": "any", "to": "db", "port": 0}, "entry 1: ports go from 1 to 65535, not 0"),
        ({"from": "any", "to": "db", "port": [22, 65536]}, "entry 1: ports go from 1 to 65535, not 65536"),
        (
            {"from": "any", "to": "db", "port": "ssh"},
            "entry 1: a port is a number or a range such as 8000-8100, not 'ssh'",
        ),
        ({"from": "any", "to": "db", "port": True}, "not True"),
        ({"from": "any", "to": "db", "port": "90-80"}, "entry 1: range '90-80' is reversed; write 80-90"),
        ({"from": "any", "to": "db"}, "entry 1: 'port' is missing"),
        ({"from": "any", "to": "db", "port": []}, "entry 1: 'port' is missing"),
        (
            {"from": "any", "to": "db", "port": 1, "proto": "sctp"},
            "entry 1: proto is one of tcp, udp, icmp, not 'sctp'",
        ),
        ({"from": "any", "to": "db", "port": 1, "proto": "icmp"}, "entry 1: icmp has no ports"),
        ({"from": "10.0.0.5/24", "to": "db", "port": 1}, "entry 1 (from): 10.0.0.5/24 has host bits set"),
        ({"from": "10.0.0.0/33", "to": "db", "port": 1}, "entry 1 (from): '10.0.0.0/33' does not appear to be"),
        ({"from": "10.0.0.300", "to": "db", "port": 1}, "entry 1 (from): '10.0.0.300' does not appear to be"),
        ({"from": "fd00::g", "to": "db", "port": 1}, "entry 1 (from): 'fd00::g' does not appear to be"),
        ({"to": "db", "port": 1}, "entry 1: 'from' is missing"),
        ({"from": "any", "to": [], "port": 1}, "entry 1: 'to' is missing"),
        ({"from": 7, "to": "db", "port": 1}, "entry 1 (from): a group, host or network is expected, not 7"),
        (
            {"from": "any", "to": "any", "port": 1},
            "entry 1 (to): 'any' is no group or host; all hosts together are 'all'",
        ),
        ({"from": "any", "to": "10.0.2.1", "port": 1}, "entry 1 (to): '10.0.2.1' is no group or host"),
        ({"from": "any", "to": "db", "ports": 1}, "entry 1: unknown key 'ports'; did you mean 'port'?"),
        ("ssh", "entry 1: a flow is a mapping with from, to and port, not 'ssh'"),
    ],
)
def test_mistakes_are_named(flow, message):
    with pytest.raises(f.FlowError) as raised:
        f.compile_flows([flow], "d1", inventory())
    assert str(raised.value).startswith("hardening_flows, entry 1")
    assert message in str(raised.value)


def test_flows_are_a_list():
    with pytest.raises(f.FlowError, match="hardening_flows is a list of flows"):
        f.compile_flows({"from": "any"}, "d1", inventory())


def test_an_address_that_nobody_knows_names_host_and_flow():
    addresses = {**ADDRESSES, "w1": ["w1.invalid"]}
    with pytest.raises(f.FlowError) as raised:
        ingress("d1", {"from": "web", "to": "db", "port": 1}, addresses=addresses)
    assert str(raised.value) == (
        "hardening_flows, entry 1 (from): 'web': host w1: 'w1.invalid' does not resolve on the controller; "
        "set its hardening_addresses"
    )


def test_a_group_called_like_a_keyword_is_refused():
    with pytest.raises(f.FlowError, match="'any' is a word of its own here; rename"):
        ingress("d1", {"from": "any", "to": "db", "port": 1}, groups={**GROUPS, "any": ["w1"]})


def test_controllers_need_addresses():
    with pytest.raises(f.FlowError, match=r"\(from\): hardening_controllers is empty"):
        ingress("d1", {"from": "controllers", "to": "db", "port": 1}, controllers=())
    with pytest.raises(f.FlowError, match="hardening_controllers, entry 2: "):
        inventory(controllers=["10.0.0.0/8", "home"])


def test_without_an_egress_policy_there_is_none():
    assert f.compile_flows([], "d1", inventory()) == {"ingress": [], "egress": None}


def test_what_may_enter_the_one_host_may_leave_the_other():
    flows = [{"from": "jump", "to": "web", "port": 22}, {"from": "any", "to": "db", "port": 3306}]
    assert f.compile_flows(flows, "j1", inventory(), egress=[])["egress"] == [
        {
            "proto": "tcp",
            "ports": [[22, 22]],
            "peers": ["10.0.1.1", "10.0.1.2", "fd00::1:1", "fd00::1:2"],
            "flows": ["jump to web"],
        },
        {"proto": "tcp", "ports": [[3306, 3306]], "peers": ["10.0.2.1"], "flows": ["any to db"]},
    ]


def test_egress_may_lead_out_of_the_inventory():
    egress = [
        {"from": "all", "to": "9.9.9.9", "port": 53, "proto": "udp"},
        {"from": "web", "to": "any", "port": 443},
        {"from": "10.0.2.0/24", "to": "2001:db8::123", "port": 123, "proto": "udp"},
    ]
    seen = f.compile_flows([], "d1", inventory(), egress)["egress"]
    assert [(rule["proto"], rule["ports"], rule["peers"]) for rule in seen] == [
        ("udp", [[53, 53]], ["9.9.9.9"]),
        ("udp", [[123, 123]], ["2001:db8::123"]),
    ]
    with pytest.raises(f.FlowError, match=r"hardening_egress, entry 1 \(to\): no group"):
        f.compile_flows([], "d1", inventory(), [{"from": "all", "to": "nowhere", "port": 1}])


def test_permits():
    rules = ingress(
        "d1",
        {"from": "jump", "to": "db", "port": "20-22"},
        {"from": "10.0.0.0/8", "to": "db", "port": 53, "proto": "udp"},
        {"from": "web", "to": "db", "proto": "icmp"},
    )
    assert f.permits(rules, "192.0.2.1", "tcp", 22)
    assert f.permits(rules, "::ffff:192.0.2.1", "tcp", 20)
    assert f.permits(rules, "2001:db8::1", "tcp", 21)
    assert f.permits(rules, "10.255.0.1", "udp", 53)
    assert f.permits(rules, "10.0.1.1", "icmp")
    assert not f.permits(rules, "192.0.2.1", "tcp", 23)
    assert not f.permits(rules, "192.0.2.2", "tcp", 22)
    assert not f.permits(rules, "192.0.2.1", "udp", 22)
    assert not f.permits(rules, "192.0.2.1", "icmp")
    assert not f.permits([], "192.0.2.1", "tcp", 22)


def test_unpermitted_names_what_will_fall_silent():
    rules = ingress("d1", {"from": "jump", "to": "db", "port": 22})
    sockets = [
        {"proto": "tcp", "address": "10.0.2.1", "port": 22, "process": "sshd"},
        {"proto": "udp", "address": "10.0.2.1", "port": 22, "process": "odd"},
        {"proto": "tcp", "address": "::", "port": 3306, "process": "mariadbd"},
        {"proto": "tcp", "address": "10.0.2.1", "port": 3306, "process": "mariadbd"},
        {"proto": "tcp", "address": "127.0.0.1", "port": 25, "process": "exim4"},
        {"proto": "tcp", "address": "::1", "port": 25, "process": "exim4"},
        {"proto": "tcp", "address": "10.0.2.1", "port": 111, "process": ""},
    ]
    assert f.unpermitted(rules, sockets) == ["22/udp odd", "111/tcp unknown", "3306/tcp mariadbd"]


def test_ansible_variables_are_enough():
    hostvars = {
        "j1": {"ansible_host": "192.0.2.1"},
        "w1": {"ansible_host": "10.0.1.1", "hardening_addresses": ["10.0.1.1", "fd00::1"]},
        "10.7.7.7": {},
    }
    groups = {"all": list(hostvars), "jump": ["j1"], "web": ["w1"]}
    flow = {"from": ["jump", "w1", "10.7.7.7"], "to": "all", "port": 22}
    rules = f.from_hostvars([flow], "w1", groups, hostvars)["ingress"]
    assert rules[0]["peers"] == ["10.0.1.1", "10.7.7.7", "192.0.2.1", "fd00::1"]
