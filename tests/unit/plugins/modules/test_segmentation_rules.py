# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as the clouds have them, out of rules of the policy."""

from __future__ import annotations

import re

import pytest
from ansible_collections.rampart.hardening.plugins.modules import aws_segmentation as aws
from ansible_collections.rampart.hardening.plugins.modules import azure_segmentation as azure


def rule(**changes):
    return {
        "segment": "db", "direction": "ingress", "proto": "tcp", "ports": [[3306, 3306]], "kind": "segment",
        "peer": "web", "flows": ["web to db"], **changes,
    }  # fmt: skip


def inbound(**properties):
    return {"direction": "Inbound", **properties}


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({}, {("ingress", "tcp", 3306, 3306, "segment", "web")}),
        ({"kind": "network", "peer": "192.0.2.9"}, {("ingress", "tcp", 3306, 3306, "network", "192.0.2.9/32")}),
        ({"kind": "network", "peer": "2001:DB8::9"}, {("ingress", "tcp", 3306, 3306, "network", "2001:db8::9/128")}),
        ({"proto": "icmp", "ports": []}, {("ingress", one, -1, -1, "segment", "web") for one in ("icmp", "icmpv6")}),
        (
            {"proto": "icmp", "ports": [], "kind": "network", "peer": "::/0"},
            {("ingress", "icmpv6", -1, -1, "network", "::/0")},
        ),
    ],
)
def test_amazon_gets_what_it_would_say_itself(changes, rules):
    assert aws.wanted_rules(rule(**changes)) == rules


def test_amazon_counts_families_and_directions_apart():
    def one(direction, kind, peer):
        return (direction, "tcp", 1, 1, kind, peer)

    fours = {one("ingress", "network", f"10.0.0.{number}/32") for number in range(3)}
    sixes = {one("ingress", "network", f"2001:db8::{number}/128") for number in range(2)}
    assert aws.quota(fours | sixes) == 3
    assert aws.quota(fours | sixes | {one("egress", "network", "10.0.0.0/8")}) == 3
    assert aws.quota(fours | sixes | {one("ingress", "segment", "web")}) == 4
    assert aws.quota(set()) == 0


def test_azure_keeps_priorities_and_fills_the_gaps():
    wanted = {name: inbound() for name in ("a", "b", "c")}
    there = {"b": inbound(priority=101), "old": inbound(priority=100)}
    found = azure.prioritized(wanted, there)
    assert {name: one["priority"] for name, one in found.items()} == {"a": 100, "b": 101, "c": 102}
    again = azure.prioritized({**wanted, "0": inbound()}, found)
    assert {name: one["priority"] for name, one in again.items()} == {"a": 100, "b": 101, "c": 102, "0": 103}


def test_azure_does_not_keep_priorities_that_cannot_be():
    """Two of the same, one that is not for declared rules, and one that somebody gave to what comes last."""
    there = {"a": inbound(priority=200), "b": inbound(priority=200), "c": inbound(priority=4096)}
    wanted = {name: inbound() for name in "abc"} | {"deny": inbound(priority=4096)}
    found = {name: one["priority"] for name, one in azure.prioritized(wanted, there).items()}
    assert found == {"a": 200, "b": 100, "c": 101, "deny": 4096}


def test_azure_names_are_legal_and_one_of_a_kind():
    peers = ["web", "2001:db8::/32", "2001:db8::-32", "w" * 200, "w" * 201]
    names = [azure.rule_name(rule(peer=peer)) for peer in peers]
    assert len(set(names)) == len(peers)
    assert all(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,78}\w", name) for name in names)
    assert azure.rule_name(rule()) == azure.rule_name(rule(ports=[[1, 2]], flows=["other"]))


def test_azure_rules_mean_the_same_however_they_are_written():
    one = inbound(access="Allow", protocol="Tcp", sourceAddressPrefix="10.0.0.0/8", sourcePortRange="*",
                  destinationPortRange="22", destinationApplicationSecurityGroups=[{"id": "/A/b"}])  # fmt: skip
    other = inbound(access="Allow", protocol="TCP", sourceAddressPrefixes=["10.0.0.0/8"], sourcePortRange="*",
                    destinationPortRanges=["22"], destinationApplicationSecurityGroups=[{"id": "/a/B"}],
                    destinationAddressPrefixes=[], priority=7, description="x")  # fmt: skip
    assert azure.meaning(one) == azure.meaning(other)
    assert azure.meaning(one) != azure.meaning({**one, "access": "Deny"})


def test_azure_filters_go_by_priority():
    def one(priority, access, source, ports):
        ends = {"sourceAddressPrefix": source, "destinationAddressPrefix": "*"}
        ranges = {"sourcePortRange": "*", "destinationPortRange": ports}
        return {"properties": inbound(access=access, priority=priority, protocol="Tcp", **ends, **ranges)}

    rules = [
        one(300, "Allow", "*", "1-100"),
        one(200, "Deny", "Internet", "22"),
        one(100, "Allow", "192.0.2.0/24", "22"),
    ]
    wall = azure.Filter({"properties": {"securityRules": rules, "defaultSecurityRules": azure.DEFAULTS}})
    world, partner, inside = (
        (frozenset(), frozenset(words)) for words in ({"internet"}, {"internet", "192.0.2.0/24"}, {"virtualnetwork"})
    )
    host = (frozenset(), frozenset({"virtualnetwork"}))
    assert not wall.passes("Inbound", world, host, "tcp", 22)
    assert wall.passes("Inbound", partner, host, "tcp", 22)
    assert wall.passes("Inbound", world, host, "tcp", 23)
    assert not wall.passes("Inbound", world, host, "udp", 23)
    assert wall.passes("Inbound", inside, host, "udp", 23)
    assert not wall.passes("Inbound", world, host, "tcp", 443)
