# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import segmentation as s


@pytest.mark.parametrize(
    ("network", "open_"),
    [
        ("0.0.0.0/0", True), ("::/0", True), ("0.0.0.0/1", True), ("128.0.0.0/1", True), ("2000::/3", True),
        ("64.0.0.0/7", True), ("10.0.0.0/8", False), ("203.0.113.0/24", False), ("2001:db8::/32", False),
        ("fc00::/7", False), ("fd00::/8", False), ("2a00::/12", True),
    ],
)  # fmt: skip
def test_the_world(network, open_):
    assert s.world(network) is open_


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        (("tcp", 22, 22, "0.0.0.0/0"), [22]),
        (("tcp", 22, 22, "::/0"), [22]),
        (("tcp", 22, 22, "10.0.0.0/8"), []),
        (("tcp", 23, 1432, "0.0.0.0/0"), []),
        (("tcp", 5000, 6000, "0.0.0.0/0"), [5432, 5984]),
        (("udp", 11211, 11211, "0.0.0.0/0"), [11211]),
        (("icmp", -1, -1, "0.0.0.0/0"), []),
        (("tcp", 0, 65535, "0.0.0.0/1"), sorted(s.GUARDED)),
        (("-", 0, 65535, "::/0"), sorted(s.GUARDED)),
    ],
)
def test_what_the_world_may_not_reach(rule, ports):
    assert s.exposed([("web", *rule)]) == [("web", port, rule[-1]) for port in ports]


def test_waivers():
    found = [("jump", 22, "0.0.0.0/0"), ("jump", 22, "::/0"), ("web", 22, "::/0")]
    waiver = {"segment": "jump", "port": 22, "reason": "ticket 4711"}
    assert s.judge(found, [waiver]) == (["web would let ::/0 in on port 22 (SSH)"], [waiver])
    assert s.judge([], [waiver]) == ([], [])
    assert s.judge(found[:1], [{**waiver, "reason": ""}])[0] == ["allow_world for jump, port 22, has no reason"]


def test_who_a_path_may_begin_at():
    networks = {"0.0.0.0/0", "10.0.0.0/8", "10.0.1.0/24", "192.0.2.9/32", "10.0.1.5/32", "pl-1", "::/0"}
    assert s.sources({"w1": ["10.0.1.5", "2001:db8::5"]}, {"away": ["192.0.2.9/32"]}, networks) == {
        "w1": {"0.0.0.0/0", "10.0.0.0/8", "10.0.1.0/24", "10.0.1.5/32", "::/0"},
        "away": {"0.0.0.0/0", "192.0.2.9/32"},
        "the internet": {"0.0.0.0/0", "::/0"},
        "10.0.0.0/8": {"0.0.0.0/0", "10.0.0.0/8"},
        "10.0.1.0/24": {"0.0.0.0/0", "10.0.0.0/8", "10.0.1.0/24"},
        "pl-1": {"pl-1"},
    }


def test_paths_are_counted_by_source_destination_and_port():
    ports = {("tcp", 22), ("tcp", 80), ("udp", 53)}
    opened = {
        ("a", "b"): [("tcp", 22, 22), ("tcp", 1, 79)],  # a port counts once
        ("b", "a"): [("-", 0, 65535)],
        ("world", "a"): [("tcp", 443, 443)],  # not among the ports
        ("a", "a"): [("-", 0, 65535)],  # a host itself
    }
    hosts = {"a": "a", "b": "b"}
    count = s.count_paths(
        {**hosts, "world": "world"}, hosts, ports, lambda source, other: opened.get((source, other), [])
    )
    assert count == 1 + 3


def test_hosts_that_are_alike_are_looked_at_once():
    asked = []
    hosts = {f"h{number}": "same" for number in range(10)}
    assert s.count_paths(hosts, hosts, {("tcp", 22)}, lambda *ends: asked.append(ends) or [("tcp", 22, 22)]) == 90
    assert len(asked) == 1


def test_a_path_has_to_be_open_at_both_ends():
    assert s.both({("tcp", 1, 100), ("udp", 53, 53)}, {("tcp", 50, 200), ("-", 90, 95)}) == {
        ("tcp", 50, 100), ("tcp", 90, 95)
    }  # fmt: skip
    assert s.both({("-", 0, 65535)}, {("udp", 53, 53)}) == {("udp", 53, 53)}


@pytest.mark.parametrize(
    ("before", "after", "reduction"), [(100, 20, 80.0), (3, 2, 33.3), (0, 5, 0.0), (10, 15, -50.0)]
)
def test_the_reduction_is_told_as_it_is(before, after, reduction):
    assert s.paths(before, after)["reduction"] == reduction


def test_the_ports_that_count():
    rules = [
        {"proto": "tcp", "ports": [[8000, 8002]]},
        {"proto": "udp", "ports": [[53, 53]]},
        {"proto": "icmp", "ports": []},
    ]
    counted = s.counted_ports({"rules": rules}, {("tcp", 9999)})
    assert counted == {("tcp", port) for port in (*s.GUARDED, 8000, 8001, 8002, 9999)} | {("udp", 53)}
