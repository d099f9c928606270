# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""azure_segmentation with the real SDK: what the flows declare is open between machines, and nothing else."""

from __future__ import annotations

import json

import pytest
import segments
from arm import SOON
from azure_network_server import SUBSCRIPTION, NetworkServer, network_id
from harness import ROOT, module
from segments import FLOWS, GROUPS, HOSTS

MACHINES = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/production"
OURS = network_id("rampart", "networkSecurityGroups")
LEGACY = network_id("legacy", "networkSecurityGroups")
VNET = network_id("vnet", "virtualNetworks")
ROLE = json.loads((ROOT / "docs/policies/azure-segmentation.json").read_text())


def machine(host):
    return f"{MACHINES}/providers/Microsoft.Compute/virtualMachines/{host}"


def nic(host):
    return network_id(f"{host}-nic", "networkInterfaces", MACHINES)


def asg(segment):
    return network_id(f"rampart-{segment}", "applicationSecurityGroups")


def rule(name, priority, **properties):
    return {
        "name": name,
        "properties": {
            "protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": priority, "sourcePortRange": "*",
            "sourceAddressPrefix": "*", "destinationAddressPrefix": "*", **properties,
        },
    }  # fmt: skip


@pytest.fixture
def cloud():
    """Five machines as people start them: SSH and MySQL open to the world, and all within the virtual network."""
    with NetworkServer() as server:
        server.put(LEGACY, {
            "location": "westeurope",
            "properties": {"securityRules": [
                rule("ssh", 100, destinationPortRange="22"), rule("https", 110, destinationPortRange="443"),
                rule("mysql", 120, destinationPortRange="3306"),
            ]},
        })  # fmt: skip
        server.put(VNET, {
            "location": "westeurope",
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "subnets": [{"id": f"{VNET}/subnets/default", "name": "default", "properties": {}}],
            },
        })  # fmt: skip
        for number, host in enumerate(HOSTS, 10):
            server.put(nic(host), {
                "location": "westeurope",
                "tags": {"owner": "somebody"},
                "properties": {
                    "virtualMachine": {"id": machine(host)},
                    "networkSecurityGroup": {"id": LEGACY},
                    "enableAcceleratedNetworking": True,
                    "ipConfigurations": [
                        {"name": f"v{number}", "properties": {
                            "privateIPAddress": f"10.0.0.{number}", "subnet": {"id": f"{VNET}/subnets/default"},
                        }} for number in (number, number + 100)
                    ],
                },
            })  # fmt: skip
        server.page_size = 2
        yield server


def policy(*args, ids=None, **kwargs):
    return segments.policy(ids or {host: machine(host) for host in HOSTS}, *args, **kwargs)


def run(cloud, given=None, check=False, identity="operator", env=None, **args):
    return module(
        "azure_segmentation",
        {
            "policy": given or policy(), "subscription_id": SUBSCRIPTION, "resource_group": "network",
            "resource_manager_url": cloud.url, **args,
        },
        check=check,
        env=cloud.env(identity) if env is None else env,
    )  # fmt: skip


def ok(result):
    assert not result["failed"], result["msg"]
    return result


def asgs(cloud, host):
    """The groups of each configuration of an interface, which are to be the same."""
    found = [
        sorted(group["id"].rpartition("/")[2] for group in one["properties"].get("applicationSecurityGroups", []))
        for one in cloud.get(nic(host))["properties"]["ipConfigurations"]
    ]
    assert found[0] == found[1]
    return found[0]


def nsg(cloud, host):
    return cloud.get(nic(host))["properties"]["networkSecurityGroup"]["id"].rpartition("/")[2]


def rules(cloud):
    """The rules of our network security group by priority, as short as they can be told."""
    found = []
    for one in cloud.get(OURS)["properties"]["securityRules"]:
        one = one["properties"]
        ends = [
            one.get(f"{side}AddressPrefix") or one[f"{side}ApplicationSecurityGroups"][0]["id"].rpartition("/")[2]
            for side in ("source", "destination")
        ]
        ports = one.get("destinationPortRanges") or [one["destinationPortRange"]]
        found.append((one["direction"], one["priority"], one["access"], one["protocol"], *ends, *ports))
    return sorted(found)


def without_priority(found):
    return {(direction, *rest) for direction, dummy, *rest in found}


CLOSING = {
    ("Inbound", "Allow", "*", "AzureLoadBalancer", "*", "*"),
    ("Inbound", "Deny", "*", "*", "*", "*"),
}
DECLARED = {
    ("Inbound", "Allow", "Tcp", "198.51.100.0/24", "rampart-jump", "22"),
    ("Inbound", "Allow", "Tcp", "rampart-jump", "rampart-all", "22"),
    ("Inbound", "Allow", "Tcp", "0.0.0.0/0", "rampart-web", "443"),
    ("Inbound", "Allow", "Tcp", "::/0", "rampart-web", "443"),
    ("Inbound", "Allow", "Tcp", "rampart-jump", "rampart-db", "3306"),
}


def test_the_flows_and_nothing_else(cloud):
    result = ok(run(cloud))
    assert result["changed"]
    assert without_priority(rules(cloud)) == DECLARED | CLOSING
    assert [one[1:4:2] for one in rules(cloud)[-2:]] == [(4095, "*"), (4096, "*")]
    assert asgs(cloud, "db1") == asgs(cloud, "db2") == ["rampart-all", "rampart-db"]
    assert asgs(cloud, "jump1") == ["rampart-all", "rampart-jump"]
    assert {nsg(cloud, host) for host in HOSTS} == {"rampart"}
    assert result["segments"]["db"] == {"group": "rampart-db", "hosts": ["db1", "db2"]}
    # everything else about an interface is as it was, and so is what others use
    body = cloud.get(nic("db1"))
    assert body["tags"] == {"owner": "somebody"} and body["properties"]["enableAcceleratedNetworking"] is True
    assert len(cloud.get(LEGACY)["properties"]["securityRules"]) == 3


def test_a_second_run_changes_nothing(cloud):
    ok(run(cloud))
    before = len(cloud.writes)
    result = ok(run(cloud))
    assert not result["changed"] and len(cloud.writes) == before
    assert result["drift"] == {"undeclared": [], "missing": []}
    assert result["diff"]["before"] == result["diff"]["after"]


def test_check_mode_writes_nothing_and_foretells_the_run(cloud):
    foretold = ok(run(cloud, check=True))
    assert cloud.writes == [] and foretold["changed"]
    assert {request.method for request in cloud.requests} == {"GET"}
    done = ok(run(cloud))
    for key in ("drift", "paths", "diff", "left", "waived", "segments"):
        assert foretold[key] == done[key]
    assert "Inbound Allow tcp 3306 from rampart-jump to rampart-db, priority" in done["diff"]["after"]
    assert "db1 db1-nic: network security group legacy\n" in done["diff"]["before"]


def test_the_worked_example_is_counted(cloud):
    """As on Amazon: within the network everything was open, the world and the controllers had three ports."""
    counted = {"before": 5 * 4 * 18 + 5 * 2 * 3, "after": 5 + 2 + 12, "reduction": 95.1}
    assert ok(run(cloud))["paths"] == counted


def test_a_subnet_that_denies_counts(cloud):
    network = cloud.get(VNET)
    strict = network_id("strict", "networkSecurityGroups")
    cloud.put(strict, {"location": "westeurope", "properties": {"securityRules": [
        rule("deny", 200, access="Deny", protocol="*", destinationPortRange="*"),
        rule("ssh", 100, sourceAddressPrefix="10.0.0.10", destinationPortRange="22"),
    ]}})  # fmt: skip
    network["properties"]["subnets"][0]["properties"]["networkSecurityGroup"] = {"id": strict}
    cloud.put(VNET, network)
    # the jump server alone gets to the others, by SSH
    assert ok(run(cloud, check=True))["paths"] == {"before": 4, "after": 4, "reduction": 0.0}


def test_without_any_group_the_network_is_open_within(cloud):
    for host in HOSTS:
        body = cloud.get(nic(host))
        del body["properties"]["networkSecurityGroup"]
        cloud.put(nic(host), body)
    assert ok(run(cloud, check=True))["paths"]["before"] == 5 * 4 * 18


def test_what_is_not_declared_is_removed_and_priorities_stay(cloud):
    ok(run(cloud))
    before = rules(cloud)
    body = cloud.get(OURS)
    body["properties"]["securityRules"] = [
        one for one in body["properties"]["securityRules"] if one["properties"].get("destinationPortRanges") != ["3306"]
    ] + [
        rule("by-hand", 4000, destinationPortRange="3306", sourceAddressPrefix="Internet"),
        rule("by-hand-6", 4001, destinationPortRanges=["1-65535"], sourceAddressPrefix="::/0"),
    ]
    cloud.put(OURS, body)
    drift = ok(run(cloud))["drift"]
    assert drift == {
        "undeclared": [
            "rampart: Inbound Allow tcp 1-65535 from ::/0 to *",
            "rampart: Inbound Allow tcp 3306 from internet to *",
        ],
        "missing": ["rampart: Inbound Allow tcp 3306 from rampart-jump to rampart-db"],
    }
    assert rules(cloud) == before
    more = [*FLOWS, {"from": "10.9.0.0/16", "to": "web", "port": 80}, {"from": "all", "to": "db", "port": 1}]
    ok(run(cloud, policy(more)))
    assert set(before) < set(rules(cloud))


def test_interfaces_that_left_or_changed_their_group_come_back(cloud):
    ok(run(cloud))
    other = network_id("other", "applicationSecurityGroups")
    cloud.put(other, {"location": "westeurope"})
    body = cloud.get(nic("db1"))
    body["properties"]["networkSecurityGroup"] = {"id": LEGACY}
    for one in body["properties"]["ipConfigurations"]:
        one["properties"]["applicationSecurityGroups"] = [{"id": other}, {"id": asg("web")}, {"id": asg("all")}]
    cloud.put(nic("db1"), body)
    assert ok(run(cloud))["drift"] == {
        "undeclared": ["db1 db1-nic: network security group legacy", "db1 db1-nic: rampart-web"],
        "missing": ["db1 db1-nic: network security group rampart", "db1 db1-nic: rampart-db"],
    }
    assert asgs(cloud, "db1") == ["other", "rampart-all", "rampart-db"]  # what is of others stays
    assert nsg(cloud, "db1") == "rampart"


def test_adding_comes_before_taking_away(cloud):
    ok(run(cloud))
    cloud.writes.clear()
    moved = policy([*FLOWS[:3], {"from": "web", "to": "db", "port": 3306}], {**GROUPS, "web": ["web1", "db2"]},
                   ids={host: machine(host) for host in ("jump1", "web1", "db1", "db2")})  # fmt: skip
    ok(run(cloud, moved))
    # db2 joins web, the rules follow; web2 is of no concern any more
    assert [request.path.rpartition("/")[2] for request in cloud.writes] == ["db2-nic", "rampart"]
    cloud.writes.clear()
    ok(run(cloud))
    assert [request.path.rpartition("/")[2] for request in cloud.writes] == ["rampart", "db2-nic"]
    assert asgs(cloud, "db2") == ["rampart-all", "rampart-db"]


def test_where_adding_fails_nothing_is_taken_away(cloud):
    cloud.fail("PUT", "networkSecurityGroups/rampart", 400, "QuotaExceeded", "no more of them")
    result = run(cloud)
    assert result["failed"] and result["changed"] and "QuotaExceeded: no more of them" in result["msg"]
    assert {nsg(cloud, host) for host in HOSTS} == {"legacy"}
    ok(run(cloud))
    assert {nsg(cloud, host) for host in HOSTS} == {"rampart"}


def test_egress_is_left_unless_declared(cloud):
    ok(run(cloud))
    body = cloud.get(OURS)
    body["properties"]["securityRules"].append(
        rule("out", 300, direction="Outbound", destinationPortRange="25", access="Deny")
    )
    cloud.put(OURS, body)
    assert not ok(run(cloud))["changed"]
    declared = policy(egress=[{"from": "all", "to": "10.9.0.0/16", "port": 443}])
    assert ok(run(cloud, declared))["drift"]["undeclared"] == ["rampart: Outbound Deny tcp 25 from * to *"]
    assert {one for one in without_priority(rules(cloud)) if one[0] == "Outbound"} == {
        ("Outbound", "Allow", "Tcp", "rampart-jump", "rampart-all", "22"),
        ("Outbound", "Allow", "Tcp", "rampart-jump", "rampart-db", "3306"),
        ("Outbound", "Allow", "Tcp", "rampart-all", "rampart-web", "443"),
        ("Outbound", "Allow", "Tcp", "rampart-all", "10.9.0.0/16", "443"),
        ("Outbound", "Deny", "*", "*", "*", "*"),
    }
    assert not ok(run(cloud, declared))["changed"]


def test_icmp_and_both_families(cloud):
    flows = [*FLOWS, {"from": ["10.0.0.0/8", "fd00::/8", "jump"], "to": "db", "proto": "icmp"}]
    ok(run(cloud, policy(flows)))
    assert {one for one in without_priority(rules(cloud)) if one[2] == "Icmp"} == {
        ("Inbound", "Allow", "Icmp", source, "rampart-db", "*") for source in ("10.0.0.0/8", "fd00::/8", "rampart-jump")
    }


def test_a_segment_that_is_no_more_is_deleted_unless_used(cloud):
    ok(run(cloud))
    body = cloud.get(LEGACY)
    del (named := rule("db", 500, destinationPortRange="1"))["properties"]["destinationAddressPrefix"]
    named["properties"]["destinationApplicationSecurityGroups"] = [{"id": asg("db")}]
    cloud.put(LEGACY, {**body, "properties": {"securityRules": [*body["properties"]["securityRules"], named]}})
    fewer = policy(FLOWS[:3])
    assert ok(run(cloud, fewer))["left"] == ["rampart-db"]
    assert asgs(cloud, "db1") == ["rampart-all"]
    assert not ok(run(cloud, fewer))["changed"]
    cloud.put(LEGACY, body)
    # something that is not seen uses it
    cloud.fail("DELETE", "rampart-db", 400, "InUseApplicationSecurityGroupCannotBeDeleted")
    stuck = ok(run(cloud, fewer))
    assert stuck["left"] == ["rampart-db"] and not stuck["changed"]
    assert ok(run(cloud, fewer))["left"] == []
    assert cloud.get(asg("db")) is None


def test_what_the_world_may_not_reach_is_refused(cloud):
    wide = policy([*FLOWS, {"from": "any", "to": "jump", "port": "20-25"}])
    assert "jump would let ::/0 in on port 22 (SSH)" in run(cloud, wide)["msg"]
    assert cloud.requests == []
    waiver = {"segment": "jump", "port": 22, "reason": "no fixed addresses until the VPN is there"}
    assert ok(run(cloud, wide, allow_world=[waiver], check=True))["waived"] == [waiver]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hosts": {"db1": {"ansible_host": "198.51.100.201"}}}, "Ansible reaches db1 at 198.51.100.201 through a"),
        ({"hosts": {"db1": {"instance": machine("db9")}}}, "no virtual machine or interface for db1 (/subscriptions/"),
        ({"hosts": {"db1": {"instance": "db9"}}}, "no virtual machine or interface for db1 (db9)"),
        ({"flows": FLOWS + [{"from": [f"10.{one // 250}.{one % 250}.0/24" for one in range(1001)], "to": "db",
                             "port": 1}]}, "the flows need 1008 rules, and a network security group takes 1000"),
        ({"flows": FLOWS + [{"from": f"g{one}", "to": "db", "port": 1} for one in range(20)],
          "groups": {**GROUPS, **{f"g{one}": ["web1"] for one in range(20)}}},
         "web1-nic of web1 needs 22 application security groups, and Azure takes 20"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_touched(cloud, change, said):
    result = run(cloud, policy(**change))
    assert result["failed"] and said in result["msg"]
    assert cloud.writes == []


def test_what_is_not_ours_is_refused(cloud):
    cloud.put(asg("db"), {"location": "westeurope"})
    assert "rampart-db is not of this module" in run(cloud)["msg"]
    del cloud.store[asg("db").lower()]
    cloud.put(OURS, {"location": "westeurope"})
    assert "networkSecurityGroups/rampart is not of this module" in run(cloud)["msg"]
    assert cloud.writes == []


def test_machines_by_name_and_by_interface(cloud):
    ok(run(cloud, policy(ids={**{host: host.upper() for host in HOSTS}, "db1": nic("db1")})))
    assert asgs(cloud, "db1") == ["rampart-all", "rampart-db"]
    body = cloud.get(nic("web1"))
    body["properties"]["virtualMachine"]["id"] = machine("web2").replace("production", "staging")
    cloud.put(network_id("twin", "networkInterfaces"), body)
    assert "several virtual machines are called web2" in run(cloud, policy(ids={host: host for host in HOSTS}))["msg"]


def test_hosts_of_several_networks_are_refused(cloud):
    body = cloud.get(nic("db2"))
    for one in body["properties"]["ipConfigurations"]:
        one["properties"]["subnet"]["id"] = VNET.replace("/vnet", "/elsewhere") + "/subnets/default"
    cloud.put(nic("db2"), body)
    assert "elsewhere: db2; vnet: db1, jump1, web1, web2" in run(cloud)["msg"]


# --- somebody else, at the same time, and what goes wrong on the way


def test_a_second_writer_of_the_rules_loses_nothing_unseen(cloud):
    """Somebody writes between our look and our write: Azure answers 412, we look again and remove it knowingly."""
    ok(run(cloud))

    def other(request):
        body = cloud.get(OURS)
        body["tags"]["by"] = "somebody"
        cloud.put(OURS, body)

    cloud.before("PUT", "networkSecurityGroups/rampart", other)
    before = len(cloud.writes)
    ok(run(cloud, policy([*FLOWS, {"from": "web", "to": "db", "port": 3306}])))
    assert cloud.get(OURS)["tags"] == {"rampart-segment": "", "by": "somebody"}
    assert ("Inbound", "Allow", "Tcp", "rampart-web", "rampart-db", "3306") in without_priority(rules(cloud))
    assert len(cloud.writes) == before + 1


def test_a_second_writer_of_an_interface_loses_nothing(cloud):
    def other(request):
        body = cloud.get(nic("db1"))
        body["properties"]["enableIPForwarding"] = True
        cloud.put(nic("db1"), body)

    cloud.before("PUT", "db1-nic", other)
    ok(run(cloud))
    assert cloud.get(nic("db1"))["properties"]["enableIPForwarding"] is True
    assert asgs(cloud, "db1") == ["rampart-all", "rampart-db"]


def test_who_makes_the_same_groups_first_is_not_overwritten(cloud):
    def other(request):
        cloud.put(OURS, {"location": "westeurope", "tags": {"rampart-segment": "", "by": "x"}, "properties": {}})
        cloud.put(asg("all"), {"location": "westeurope", "tags": {"rampart-segment": "all", "by": "somebody"}})

    cloud.before("PUT", "applicationSecurityGroups/rampart-all", other)
    ok(run(cloud))
    assert cloud.get(asg("all"))["tags"]["by"] == "somebody" and cloud.get(OURS)["tags"]["by"] == "x"


def test_what_was_taken_away_meanwhile_is_seen_before_anything_else_is(cloud):
    """Somebody empties our rules before the interfaces are given them: nobody is cut off."""

    def look(request):
        if cloud.get(OURS) is None:  # not written yet
            cloud.before("GET", "networkInterfaces$", look)
            return
        body = cloud.get(OURS)
        body["properties"]["securityRules"] = []
        cloud.put(OURS, body)

    cloud.before("GET", "networkInterfaces$", look)
    ok(run(cloud))
    written = [request.path.rpartition("/")[2].partition("-")[0] for request in cloud.writes]
    joined = ["db1", "db2", "jump1", "web1", "web2"]
    assert written == ["rampart"] * 4 + joined + ["rampart"] * 2 + joined
    assert without_priority(rules(cloud)) == DECLARED | CLOSING


def test_what_passes_is_waited_for(cloud):
    cloud.fail("PUT", "networkSecurityGroups", 409, "AnotherOperationInProgress")
    cloud.fail("PUT", "jump1-nic", 409, "AnotherOperationInProgress")
    cloud.fail("PUT", "applicationSecurityGroups", 429, "TooManyRequests", headers=SOON, times=3)
    cloud.fail("GET", "networkInterfaces", 500, "InternalServerError", headers=SOON, times=2)
    ok(run(cloud))
    assert without_priority(rules(cloud)) == DECLARED | CLOSING


def test_an_operation_that_fails_is_told(cloud):
    cloud.fail("PUT", "networkSecurityGroups/rampart", 500, "InternalServerError", "An error occurred.", operation=True)
    result = run(cloud)
    assert result["failed"] and "Writing the 7 rules of rampart failed: InternalServerError" in result["msg"]
    assert {nsg(cloud, host) for host in HOSTS} == {"legacy"}
    ok(run(cloud))


def test_what_never_ends_is_told(cloud):
    cloud.fail("PUT", "networkSecurityGroups", 412, "PreconditionFailed", "The etag is another.", times=99)
    result = run(cloud)
    assert "changed as often as it was written" in result["msg"] and "The etag is another." in result["msg"]
    assert {nsg(cloud, host) for host in HOSTS} == {"legacy"}


# --- who may do it


def test_the_least_permissions_are_enough(cloud):
    cloud.grants["segmenter"] = [{"actions": ROLE["Actions"]}]
    ok(run(cloud, identity="segmenter"))
    ok(run(cloud, policy(FLOWS[:3]), identity="segmenter"))
    assert cloud.get(asg("db")) is None


@pytest.mark.parametrize("action", ROLE["Actions"])
def test_each_permission_is_needed_and_named(cloud, action):
    gone = network_id("rampart-gone", "applicationSecurityGroups")
    cloud.put(gone, {"location": "westeurope", "tags": {"rampart-segment": "gone"}})
    body = cloud.get(nic("db1"))
    public = network_id("public", "publicIPAddresses")
    body["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"] = {"id": public}
    cloud.put(nic("db1"), body)
    cloud.grants["segmenter"] = [{"actions": [one for one in ROLE["Actions"] if one != action]}]
    result = run(cloud, identity="segmenter")
    # as Azure does not care about capitals in names of actions, nor does this
    assert result["failed"] and f"needs {action}".lower() in result["msg"].lower()


def test_credentials_that_are_none(cloud):
    environment = {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
    assert "no credential for Azure works: log in" in run(cloud, env=environment)["msg"]
    cloud.expired.add("operator")
    assert "it may have expired: log in" in run(cloud)["msg"]


def test_a_policy_that_is_none(cloud):
    result = run(cloud, {"segments": {}})
    assert "policy is what the filter rampart.hardening.cloud_segments makes" in result["msg"]
