# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import sys

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_firewall as s


def table(family, name, *rules, hook=None, policy="accept"):
    """The JSON of a table with one chain, as nft prints it."""
    chain = {"family": family, "table": name, "name": "c"}
    if hook:
        chain.update(hook=hook, policy=policy, type="filter", prio=0)
    entries = [{"table": {"family": family, "name": name}}, {"chain": chain}]
    return entries + [{"rule": {"family": family, "table": name, "chain": "c", "expr": list(rule)}} for rule in rules]


def port(number, proto="tcp"):
    return {"match": {"op": "==", "left": {"payload": {"protocol": proto, "field": "dport"}}, "right": number}}


def seen(*tables):
    entries = [{"metainfo": {}}, *(entry for found in tables for entry in found)]
    return s.ruleset(lambda argv: (0, json.dumps({"nftables": entries}), ""))


def test_an_empty_ruleset():
    assert seen() == {
        "ours": False,
        "tables": [],
        "drops": [],
        "nat": False,
        "dnat": False,
        "forward_rules": False,
        "published": set(),
    }


@pytest.mark.parametrize(
    "answer", [(127, "", "not found"), (1, "", "Operation not permitted"), (0, "{", ""), (0, "", "")]
)
def test_no_answer_is_no_tables(answer):
    assert s.ruleset(lambda argv: answer) == seen()


def test_our_table_is_not_one_of_the_others():
    found = seen(
        table("inet", "rampart", hook="input", policy="drop"), table("inet", "filter", hook="input", policy="drop")
    )
    assert (found["ours"], found["tables"], found["drops"]) == (True, ["inet filter"], ["inet filter c (input)"])


@pytest.mark.parametrize(
    "dnat", [{"dnat": {"addr": "172.17.0.2", "port": 80}}, {"xt": {"type": "target", "name": "DNAT"}}]
)
def test_published_ports(dnat):
    found = seen(table("ip", "nat", [port(8081), {"counter": {}}, dnat], [port({"set": [53, 54]}, "udp"), dnat]))
    assert found["published"] == {("tcp", 8081), ("udp", 53), ("udp", 54)}
    assert found["nat"] and found["dnat"]


def test_a_redirect_publishes_nothing():
    found = seen(table("inet", "site", [port(80), {"redirect": {"port": 8080}}]))
    assert found["dnat"] and not found["nat"] and not found["published"]


@pytest.mark.parametrize(
    ("rule", "sign"),
    [
        ([{"masquerade": None}], "nat"),
        ([{"xt": {"type": "target", "name": "MASQUERADE"}}], "nat"),
    ],
)
def test_other_signs(rule, sign):
    assert seen(table("ip", "nat", rule))[sign]


def test_rules_that_forward():
    assert seen(table("ip", "filter", [{"accept": None}], hook="forward"))["forward_rules"]
    assert not seen(table("ip", "filter", hook="forward"))["forward_rules"]
    assert not seen(table("inet", "rampart", [{"drop": None}], hook="forward"))["forward_rules"]


def test_published_by_the_old_iptables():
    rules = (
        "*nat\n"
        "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80\n"
        "-A DOCKER -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.3:53\n"
        "-A DOCKER -p tcp -m tcp --dport 9 -j ACCEPT\n"
        "-A NETAVARK -d 127.0.0.1/32 -p tcp -m tcp --dport 7 -j DNAT --to-destination 10.88.0.2:7\n"
    )
    assert s.published(rules) == {("tcp", 8081), ("udp", 53)}


@pytest.mark.skipif(sys.byteorder != "little", reason="as a little-endian kernel writes them")
def test_addresses_of_the_kernel():
    assert s.address("0100007F") == "127.0.0.1"
    assert s.address("0C00570A") == "10.87.0.12"
    assert s.address("00000000000000000000000001000000") == "::1"
    assert s.address("B80D0120000000000000000001000000") == "2001:db8::1"


@pytest.mark.parametrize(
    ("line", "forwards"),
    [
        ("net.ipv4.ip_forward = 1", True),
        ("net/ipv6/conf/all/forwarding=1", True),
        ("#net.ipv4.ip_forward=1", False),
        ("net.ipv4.ip_forward=0", False),
        ("IPForward=yes", True),
        ("IPv6Forwarding=true", True),
        ("IPForward=no", False),
    ],
)
def test_what_makes_a_router(tmp_path, line, forwards):
    (tmp_path / "sysctl.conf").write_text("# kernel\n" + line + "\n", encoding="utf-8")
    assert s.said_in(s.FORWARDING, str(tmp_path / "*.conf")) is forwards


def test_it_runs_anywhere():
    found = s.collect(lambda argv: (127, "", ""))
    assert found["nft"] == "" and found["loaded"] is False and isinstance(found["listening"], list)
    json.dumps(found)
