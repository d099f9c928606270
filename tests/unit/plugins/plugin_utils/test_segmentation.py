# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows, segmentation

GROUPS = {
    "all": ["j1", "w1", "w2", "d1", "away", "old"],
    "jump": ["j1"],
    "web": ["w1", "w2"],
    "db": ["d1"],
    "office": ["away"],
    "mixed": ["w1", "away"],
}
HOSTVARS = {
    "j1": {"instance_id": "i-j1", "ansible_host": "192.0.2.1"},
    "w1": {"instance_id": "i-w1", "ansible_host": "10.0.1.1"},
    "w2": {"instance_id": "i-w2", "ansible_host": "10.0.1.2"},
    "d1": {"instance_id": "i-d1", "ansible_host": "10.0.2.1"},
    "away": {"hardening_addresses": ["203.0.113.9", "2001:db8::9"]},
    "old": {"ansible_host": "198.51.100.77", "instance_id": ""},
}
SSH = [{"from": "controllers", "to": "jump", "port": 22}, {"from": "jump", "to": "all", "port": 22}]


def compiled(*declared, ssh=None, hostvars=None, groups=None, **kwargs):
    kwargs = {"controllers": ["198.51.100.0/24"], **kwargs}
    flows = [*(SSH if ssh is None else ssh), *declared]
    return segmentation.compile_segments(flows, groups or GROUPS, hostvars or HOSTVARS, "instance_id", **kwargs)


def rules(policy, segment, direction="ingress"):
    return [
        (rule["proto"], rule["ports"], rule["peer"])
        for rule in policy["rules"]
        if (rule["segment"], rule["direction"]) == (segment, direction)
    ]


def changed(**variables):
    return {host: {**HOSTVARS[host], **variables.get(host, {})} for host in HOSTVARS}


def test_ends_become_segments_of_the_hosts_in_this_cloud():
    policy = compiled({"from": "web", "to": "db", "port": 3306})
    assert policy["segments"] == {
        "all": ["d1", "j1", "w1", "w2"],
        "db": ["d1"],
        "jump": ["j1"],
        "web": ["w1", "w2"],
    }
    assert {host: found["instance"] for host, found in policy["hosts"].items()} == {
        "d1": "i-d1", "j1": "i-j1", "w1": "i-w1", "w2": "i-w2"
    }  # fmt: skip


def test_a_rule_speaks_of_segments():
    policy = compiled({"from": "web", "to": "db", "port": [3306, "3310-3312"]})
    assert [rule for rule in policy["rules"] if rule["segment"] == "db"] == [
        {
            "segment": "db",
            "direction": "ingress",
            "proto": "tcp",
            "kind": "segment",
            "peer": "web",
            "ports": [[3306, 3306], [3310, 3312]],
            "flows": ["web to db"],
        }
    ]
    assert rules(policy, "all") == [("tcp", [[22, 22]], "jump")]
    assert rules(policy, "jump") == [("tcp", [[22, 22]], "198.51.100.0/24")]


def test_hosts_elsewhere_come_in_by_address():
    policy = compiled({"from": "mixed", "to": "db", "port": 3306})
    assert rules(policy, "db") == [
        ("tcp", [[3306, 3306]], "2001:db8::9"),
        ("tcp", [[3306, 3306]], "203.0.113.9"),
        ("tcp", [[3306, 3306]], "mixed"),
    ]
    assert policy["segments"]["mixed"] == ["w1"]
    assert policy["outside"] == {"away": ["2001:db8::9/128", "203.0.113.9/32"]}


def test_what_leads_to_hosts_elsewhere_makes_no_segment():
    policy = compiled({"from": "web", "to": "office", "port": 443})
    assert not {"web", "office"} & set(policy["segments"])
    assert policy["outside"] == {}


def test_any_covers_everything_else_in_a_flow():
    policy = compiled({"from": ["web", "any", "away"], "to": "web", "port": 443})
    assert rules(policy, "web") == [("tcp", [[443, 443]], "0.0.0.0/0"), ("tcp", [[443, 443]], "::/0")]


def test_the_order_in_which_flows_are_declared_does_not_matter():
    more = [
        {"from": "web", "to": "db", "port": [3306, 80]},
        {"from": "web", "to": "db", "port": "70-80"},
        {"from": "jump", "to": "db", "port": 3306},
        {"from": "any", "to": "web", "proto": "icmp"},
    ]
    one, other = compiled(*more), compiled(*reversed(more))
    for policy in (one, other):
        for rule in policy["rules"]:
            rule["flows"].sort()
    assert one == other


def test_without_an_egress_policy_there_is_no_egress_rule():
    policy = compiled({"from": "web", "to": "db", "port": 3306})
    assert policy["egress"] is False
    assert {rule["direction"] for rule in policy["rules"]} == {"ingress"}


def test_flows_may_leave_where_they_come_from():
    policy = compiled(
        {"from": "web", "to": "db", "port": 3306}, egress=[{"from": "db", "to": "10.9.0.0/16", "port": 443}]
    )
    assert policy["egress"] is True
    assert rules(policy, "web", "egress") == [("tcp", [[3306, 3306]], "db")]
    assert rules(policy, "db", "egress") == [("tcp", [[443, 443]], "10.9.0.0/16")]
    # to the hosts elsewhere by their addresses
    assert rules(policy, "jump", "egress") == [
        ("tcp", [[22, 22]], "198.51.100.77"),
        ("tcp", [[22, 22]], "2001:db8::9"),
        ("tcp", [[22, 22]], "203.0.113.9"),
        ("tcp", [[22, 22]], "all"),
    ]


def test_what_any_host_may_do_leaves_the_segment_that_holds_them_all():
    policy = compiled({"from": "any", "to": "web", "port": 443}, egress=[])
    assert rules(policy, "all", "egress") == [("tcp", [[443, 443]], "web")]
    assert not any(rules(policy, name, "egress") for name in ("web", "db"))


def test_a_source_network_leaves_the_segments_that_lie_in_it_and_no_others():
    ssh = [{"from": "controllers", "to": "jump", "port": 22}, {"from": "jump", "to": ["web", "db"], "port": 22}]
    policy = compiled({"from": "10.0.1.0/24", "to": "db", "port": 3306}, ssh=ssh, egress=[])
    assert rules(policy, "web", "egress") == [("tcp", [[3306, 3306]], "db")]
    narrow = compiled({"from": "10.0.1.2", "to": "db", "port": 3306}, ssh=ssh, egress=[])
    assert rules(narrow, "w2", "egress") == [("tcp", [[3306, 3306]], "db")]
    assert narrow["segments"]["w2"] == ["w2"]
    assert rules(narrow, "web", "egress") == []


def test_a_host_that_no_flow_names_gets_a_segment_without_rules():
    hostvars = changed(w1={"ansible_connection": "local"})
    ssh = [{"from": "w1", "to": ["jump", "w2", "db"], "port": 22}]
    policy = compiled(ssh=ssh, hostvars=hostvars)
    assert policy["segments"]["w1"] == ["w1"]
    assert rules(policy, "w1") == []


@pytest.mark.parametrize(
    ("ssh", "lost"),
    [
        ([{"from": "jump", "to": "all", "port": 22}], "d1, j1, w1, w2"),
        ([{"from": "controllers", "to": "jump", "port": 22}], "d1, w1, w2"),
        ([{"from": "controllers", "to": "jump", "port": 22}, {"from": "jump", "to": "web", "port": 22}], "d1"),
        ([{"from": "controllers", "to": "jump", "port": 22}, {"from": "jump", "to": "all", "port": 23}], "d1, w1, w2"),
        (
            [{"from": "10.0.0.0/8", "to": "jump", "port": 22}, {"from": "jump", "to": "all", "port": 22}],
            "d1, j1, w1, w2",
        ),
        ([{"from": "web", "to": "all", "port": 22}], "d1, j1, w1, w2"),
        ([*SSH[:1], {"from": "jump", "to": "all", "port": 22, "proto": "udp"}], "d1, w1, w2"),
        ([], "d1, j1, w1, w2"),
    ],
)
def test_flows_that_lock_ansible_out_are_refused(ssh, lost):
    with pytest.raises(flows.FlowError, match=f"no flow lets Ansible get to {lost}, "):
        compiled(ssh=ssh)


@pytest.mark.parametrize(
    "ssh",
    [
        [{"from": "controllers", "to": "all", "port": "20-30"}],
        [{"from": "198.51.100.9", "to": "all", "port": 22}],
        [{"from": "any", "to": "jump", "port": 22}, {"from": "jump", "to": "all", "port": 22}],
        [{"from": "old", "to": "all", "port": 22}],
    ],
)
def test_flows_that_let_ansible_in_are_taken(ssh):
    assert compiled(ssh=ssh)["segments"]


def test_the_port_that_ansible_uses_counts():
    with pytest.raises(flows.FlowError, match="get to d1, "):
        compiled(hostvars=changed(d1={"ansible_port": 2222}))
    with pytest.raises(flows.FlowError, match="get to d1, "):
        compiled(hostvars=changed(d1={"ansible_connection": "winrm"}))
    assert compiled({"from": "jump", "to": "db", "port": 5986}, hostvars=changed(d1={"ansible_connection": "winrm"}))


def test_without_declared_controllers_any_network_may_be_theirs():
    ssh = [{"from": "192.0.2.0/24", "to": "jump", "port": 22}, {"from": "jump", "to": "all", "port": 22}]
    assert compiled(ssh=ssh, controllers=[])
    with pytest.raises(flows.FlowError, match="get to d1, j1, w1, w2, "):
        compiled(ssh=ssh[1:], controllers=[])


def test_a_jump_server_elsewhere_comes_in_by_address():
    policy = compiled(ssh=[{"from": "office", "to": "all", "port": 22}], jump_groups=["office"])
    assert rules(policy, "all") == [("tcp", [[22, 22]], "2001:db8::9"), ("tcp", [[22, 22]], "203.0.113.9")]


def test_where_a_jump_server_of_this_cloud_has_to_find_a_host():
    policy = compiled(hostvars=changed(w2={"ansible_host": "w2.example"}, d1={"ansible_host": "127.0.0.1"}))
    assert {host: found["address"] for host, found in policy["hosts"].items()} == {
        "d1": "", "j1": "", "w1": "10.0.1.1", "w2": ""
    }  # fmt: skip
    assert compiled(ssh=[{"from": "controllers", "to": "all", "port": 22}])["hosts"]["w1"]["address"] == ""


def test_an_inventory_without_instances_is_refused():
    with pytest.raises(flows.FlowError, match="no host of the inventory has the variable vm_id"):
        segmentation.compile_segments(SSH, GROUPS, HOSTVARS, "vm_id", ["198.51.100.0/24"])


def test_one_instance_is_one_host():
    with pytest.raises(flows.FlowError, match="d1 and w1 are the same instance, i-d1"):
        compiled(hostvars=changed(w1={"instance_id": "i-d1"}))
