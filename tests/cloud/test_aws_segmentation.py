# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""aws_segmentation against moto: what the flows declare is open between instances, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from types import SimpleNamespace

import aws_server as amazon
import pytest
import segments
from aws_server import REGION, error
from harness import COLLECTIONS, ROOT, module
from segments import FLOWS, GROUPS, HOSTS

WORLD = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}


@pytest.fixture
def cloud(aws_server):
    """Five instances as people start them: SSH and MySQL open to the world, and to each other everything."""
    aws = aws_server
    aws.reset()
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnet = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"][0]["SubnetId"]
    wizard = ec2.create_security_group(GroupName="launch-wizard-1", Description="as ever", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=wizard,
        IpPermissions=[
            *({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **WORLD} for port in (22, 443, 3306)),
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": wizard}]},
        ],
    )
    ids = {}
    for host in HOSTS:
        # groups of the interface: moto would never take from one what was given to the instance
        ids[host] = ec2.run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "Groups": [wizard]}],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": f"prod-{host}"}]}],
        )["Instances"][0]["InstanceId"]  # fmt: skip
    aws.calls.clear()
    yield SimpleNamespace(ec2=ec2, vpc=vpc, subnet=subnet, wizard=wizard, ids=ids, server=aws)
    aws.enforce(False)
    aws.hooks.clear()


def policy(cloud, *args, **kwargs):
    return segments.policy(cloud.ids, *args, **kwargs)


def run(cloud, given=None, check=False, key=("setup", "setup"), **options):
    args = {"policy": given or policy(cloud), "region": REGION, "endpoint_url": cloud.server.url, **options}
    environment = {"AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1]}
    return module("aws_segmentation", args, check, environment)


def names(cloud):
    return {group["GroupId"]: group["GroupName"] for group in cloud.ec2.describe_security_groups()["SecurityGroups"]}


def interfaces(cloud, host):
    wanted = [{"Name": "attachment.instance-id", "Values": [cloud.ids[host]]}]
    return cloud.ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]


def attached(cloud, host):
    """The names of the groups of a host."""
    return sorted(group["GroupName"] for one in interfaces(cloud, host) for group in one["Groups"])


def rules(cloud, name, egress=False):
    """What a group lets through, as DescribeSecurityGroups has it: not the call that the module uses."""
    (group,) = cloud.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
    known = names(cloud)
    found = set()
    for one in group["IpPermissionsEgress" if egress else "IpPermissions"]:
        ports = one["IpProtocol"], one.get("FromPort"), one.get("ToPort")
        found |= {(*ports, peer["CidrIp"]) for peer in one["IpRanges"]}
        found |= {(*ports, peer["CidrIpv6"]) for peer in one["Ipv6Ranges"]}
        found |= {(*ports, known[peer["GroupId"]]) for peer in one["UserIdGroupPairs"]}
        found |= {(*ports, peer["PrefixListId"]) for peer in one["PrefixListIds"]}
    return found


def open_group(cloud, name="rampart-db"):
    return next(group for group, found in names(cloud).items() if found == name)


def make_group(cloud, segment):
    """A group of a segment, as the module makes it."""
    tags = [{"ResourceType": "security-group", "Tags": [{"Key": "rampart:segment", "Value": segment}]}]
    return cloud.ec2.create_security_group(
        GroupName=f"rampart-{segment}", Description="x", VpcId=cloud.vpc, TagSpecifications=tags
    )["GroupId"]


def prefix_list(cloud, network):
    family = "IPv6" if ":" in network else "IPv4"
    return cloud.ec2.create_managed_prefix_list(
        PrefixListName="partners", MaxEntries=5, AddressFamily=family, Entries=[{"Cidr": network}]
    )["PrefixList"]["PrefixListId"]


def close_guarded(cloud):
    """What the group that was there may keep to be kept."""
    world = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **WORLD} for port in (22, 3306)]
    cloud.ec2.revoke_security_group_ingress(GroupId=cloud.wizard, IpPermissions=world)


def ok(result):
    assert not result["failed"], result["msg"]
    return result


def test_the_flows_and_nothing_else(cloud):
    result = ok(run(cloud))
    assert result["changed"]
    assert attached(cloud, "db1") == attached(cloud, "db2") == ["rampart-all", "rampart-db"]
    assert attached(cloud, "web1") == ["rampart-all", "rampart-web"]
    assert attached(cloud, "jump1") == ["rampart-all", "rampart-jump"]
    assert rules(cloud, "rampart-all") == {("tcp", 22, 22, "rampart-jump")}
    assert rules(cloud, "rampart-jump") == {("tcp", 22, 22, "198.51.100.0/24")}
    assert rules(cloud, "rampart-web") == {("tcp", 443, 443, "0.0.0.0/0"), ("tcp", 443, 443, "::/0")}
    assert rules(cloud, "rampart-db") == {("tcp", 3306, 3306, "rampart-jump")}
    assert result["segments"]["db"] == {
        "group": open_group(cloud), "name": "rampart-db", "hosts": ["db1", "db2"]
    }  # fmt: skip
    # what others use is not touched
    assert ("tcp", 22, 22, "0.0.0.0/0") in rules(cloud, "launch-wizard-1")


def test_a_second_run_changes_nothing(cloud):
    ok(run(cloud))
    with cloud.server.writes() as written:
        result = ok(run(cloud))
    assert not result["changed"] and written == []
    assert result["drift"] == {"undeclared": [], "missing": []}
    assert result["diff"]["before"] == result["diff"]["after"]
    assert result["paths"]["reduction"] == 0


def test_check_mode_writes_nothing_and_foretells_the_run(cloud):
    with cloud.server.writes() as written:
        foretold = ok(run(cloud, check=True))
    assert written == [] and foretold["changed"]
    assert "rampart-db" not in names(cloud).values()
    done = ok(run(cloud))
    for key in ("drift", "paths", "diff", "left", "waived"):
        assert foretold[key] == done[key]
    assert "rampart-db: ingress tcp 3306 from rampart-jump\n" in done["diff"]["after"]
    assert ": launch-wizard-1\n" in done["diff"]["before"] and "launch-wizard-1" not in done["diff"]["after"]


def test_the_worked_example_is_counted(cloud):
    """Sources: five hosts, the internet, the controllers' network. Destinations: five hosts. Ports: 17 guarded, 443.

    Before: each host to each other on every port, 5 * 4 * 18; the internet and the controllers, who are part of it, on
    three ports, 5 * 2 * 3. After: SSH from the jump server to four hosts and from the controllers to it, 5; MySQL from
    it to two, 2; HTTPS to the web servers from everybody else, 2 * (4 + 2).
    """
    counted = {"before": 5 * 4 * 18 + 5 * 2 * 3, "after": 5 + 2 + 12, "reduction": 95.1}
    assert ok(run(cloud))["paths"] == counted


def test_what_is_not_declared_is_revoked(cloud):
    ok(run(cloud))
    group = open_group(cloud)
    other = cloud.ec2.create_security_group(GroupName="other", Description="x", VpcId=cloud.vpc)["GroupId"]
    prefixes = prefix_list(cloud, "203.0.113.0/24")
    cloud.ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 3306, "ToPort": 3306, **WORLD},
            {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": other}]},
            {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "PrefixListIds": [{"PrefixListId": prefixes}]},
            {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        ],
    )
    cloud.ec2.revoke_security_group_ingress(
        GroupId=open_group(cloud, "rampart-all"),
        IpPermissions=[
            {
                "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
                "UserIdGroupPairs": [{"GroupId": open_group(cloud, "rampart-jump")}],
            }
        ],
    )  # fmt: skip
    result = ok(run(cloud))
    assert result["drift"] == {
        "undeclared": [
            "rampart-db: ingress all traffic from other",
            "rampart-db: ingress icmp from 0.0.0.0/0",
            "rampart-db: ingress tcp 0-65535 from 10.0.0.0/8",
            "rampart-db: ingress tcp 3306 from 0.0.0.0/0",
            "rampart-db: ingress tcp 3306 from ::/0",
            f"rampart-db: ingress tcp 5432 from {prefixes}",
        ],
        "missing": ["rampart-all: ingress tcp 22 from rampart-jump"],
    }
    assert rules(cloud, "rampart-db") == {("tcp", 3306, 3306, "rampart-jump")}
    assert rules(cloud, "rampart-all") == {("tcp", 22, 22, "rampart-jump")}
    assert result["paths"]["before"] > result["paths"]["after"]


def test_a_group_attached_by_hand_is_detached(cloud):
    ok(run(cloud))
    (interface,) = interfaces(cloud, "db1")
    groups = [group["GroupId"] for group in interface["Groups"]]
    name = interface["NetworkInterfaceId"]
    cloud.ec2.modify_network_interface_attribute(NetworkInterfaceId=name, Groups=[*groups, cloud.wizard])
    assert ok(run(cloud))["drift"]["undeclared"] == [f"db1 {name}: launch-wizard-1"]
    assert attached(cloud, "db1") == ["rampart-all", "rampart-db"]


def test_groups_that_are_kept_stay(cloud):
    close_guarded(cloud)
    ok(run(cloud, keep_groups=["launch-wizard-1"]))
    assert attached(cloud, "db1") == ["launch-wizard-1", "rampart-all", "rampart-db"]
    assert not ok(run(cloud, keep_groups=[cloud.wizard]))["changed"]
    assert "there is no other security group nobody" in run(cloud, keep_groups=["nobody"])["msg"]


def test_adding_comes_before_taking_away(cloud):
    ok(run(cloud))
    moved = [*FLOWS[:3], {"from": "web", "to": "db", "port": 3306}, {"from": "web", "to": "web2", "port": 8080}]
    groups = {**GROUPS, "web": ["web1", "web2", "db2"]}
    cloud.server.calls.clear()
    ok(run(cloud, policy(cloud, moved, groups)))
    writes = [action for action in cloud.server.calls if not action.startswith("Describe")]
    assert writes == [
        "CreateSecurityGroup",
        *["AuthorizeSecurityGroupIngress"] * 2,
        *["ModifyNetworkInterfaceAttribute"] * 2,
        "RevokeSecurityGroupIngress",
    ]


def test_where_adding_fails_nothing_is_taken_away(cloud):
    cloud.server.before("ModifyNetworkInterfaceAttribute", error("InvalidParameterValue"))
    result = run(cloud)
    assert result["failed"] and result["changed"]
    assert "made rampart-db" in result["msg"]
    assert all(attached(cloud, host) == ["launch-wizard-1"] for host in HOSTS)
    cloud.server.hooks.clear()
    ok(run(cloud))
    assert attached(cloud, "db1") == ["rampart-all", "rampart-db"]


def test_what_the_world_may_not_reach_is_refused(cloud):
    result = run(cloud, policy(cloud, [*FLOWS, {"from": "any", "to": "web", "port": "1-65535"}]))
    for port in ("22 (SSH)", "3306 (MySQL)", "3389 (RDP)"):
        assert f"web would let 0.0.0.0/0 in on port {port}; " in result["msg"]
        assert f"web would let ::/0 in on port {port}" in result["msg"]
    assert cloud.server.calls == []


def test_controllers_everywhere_are_refused_too(cloud):
    assert "jump would let 0.0.0.0/0 in on port 22 (SSH)" in run(cloud, policy(cloud, controllers=["0.0.0.0/0"]))["msg"]


def test_a_waiver_needs_a_reason_and_is_told(cloud):
    wide = policy(cloud, [*FLOWS, {"from": "any", "to": "jump", "port": 22}])
    waiver = {"segment": "jump", "port": 22, "reason": "no fixed addresses until the VPN is there"}
    assert "has no reason" in run(cloud, wide, allow_world=[{**waiver, "reason": " "}])["msg"]
    assert run(cloud, wide, allow_world=[{**waiver, "port": 3389}])["failed"]
    assert ok(run(cloud, wide, allow_world=[waiver]))["waived"] == [waiver]
    assert ("tcp", 22, 22, "::/0") in rules(cloud, "rampart-jump")


def test_a_kept_group_may_not_let_the_world_in_either(cloud):
    assert "launch-wizard-1 would let 0.0.0.0/0 in on port 22 (SSH)" in run(cloud, keep_groups=[cloud.wizard])["msg"]
    prefixes = prefix_list(cloud, "2000::/3")
    close_guarded(cloud)
    cloud.ec2.authorize_security_group_ingress(
        GroupId=cloud.wizard, IpPermissions=[{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": prefixes}]}]
    )
    with cloud.server.writes() as written:
        result = run(cloud, keep_groups=[cloud.wizard])
    assert "launch-wizard-1 would let 2000::/3 in on port 27017 (MongoDB)" in result["msg"]
    assert written == []


def test_egress_is_left_unless_declared(cloud):
    everything = {("-1", None, None, "0.0.0.0/0")}
    ok(run(cloud))
    assert rules(cloud, "rampart-db", egress=True) == everything
    declared = policy(cloud, egress=[{"from": "all", "to": "10.9.0.0/16", "port": 443}])
    result = ok(run(cloud, declared))
    assert "rampart-db: egress all traffic to 0.0.0.0/0" in result["drift"]["undeclared"]
    assert rules(cloud, "rampart-db", egress=True) == set()
    assert rules(cloud, "rampart-jump", egress=True) == {
        ("tcp", 22, 22, "rampart-all"), ("tcp", 3306, 3306, "rampart-db")
    }  # fmt: skip
    assert rules(cloud, "rampart-all", egress=True) == {
        ("tcp", 443, 443, "10.9.0.0/16"), ("tcp", 443, 443, "rampart-web")
    }  # fmt: skip
    assert not ok(run(cloud, declared))["changed"]


def test_icmp_in_both_families(cloud):
    flows = [*FLOWS, {"from": ["10.0.0.0/8", "fd00::/8", "jump"], "to": "db", "proto": "icmp"}]
    ok(run(cloud, policy(cloud, flows)))
    assert rules(cloud, "rampart-db") - {("tcp", 3306, 3306, "rampart-jump")} == {
        ("icmp", -1, -1, "10.0.0.0/8"),
        ("icmpv6", -1, -1, "fd00::/8"),
        ("icmp", -1, -1, "rampart-jump"),
        ("icmpv6", -1, -1, "rampart-jump"),
    }
    assert not ok(run(cloud, policy(cloud, flows)))["changed"]


def test_a_segment_that_is_no_more_is_deleted_unless_used(cloud):
    ok(run(cloud))
    lone = cloud.ec2.create_network_interface(SubnetId=cloud.subnet, Groups=[open_group(cloud)])["NetworkInterface"]
    fewer = policy(cloud, FLOWS[:3])
    result = ok(run(cloud, fewer))
    assert result["left"] == ["rampart-db"]
    assert attached(cloud, "db1") == ["rampart-all"]
    again = ok(run(cloud, fewer))
    assert again["left"] == ["rampart-db"] and not again["changed"]
    cloud.ec2.delete_network_interface(NetworkInterfaceId=lone["NetworkInterfaceId"])
    # the rule of another group names it
    pair = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "UserIdGroupPairs": [{"GroupId": open_group(cloud)}]}]
    cloud.ec2.authorize_security_group_ingress(GroupId=cloud.wizard, IpPermissions=pair)
    assert ok(run(cloud, fewer))["left"] == ["rampart-db"]
    cloud.ec2.revoke_security_group_ingress(GroupId=cloud.wizard, IpPermissions=pair)
    # something that is not seen does
    cloud.server.before("DeleteSecurityGroup", error("DependencyViolation"))
    stuck = ok(run(cloud, fewer))
    assert stuck["left"] == ["rampart-db"] and not stuck["changed"]
    cloud.server.hooks.clear()
    assert ok(run(cloud, fewer))["left"] == []
    assert "rampart-db" not in names(cloud).values()


def test_a_group_of_that_name_that_is_not_ours_is_refused(cloud):
    cloud.ec2.create_security_group(GroupName="rampart-db", Description="of somebody else", VpcId=cloud.vpc)
    with cloud.server.writes() as written:
        assert "rampart-db exists in" in run(cloud)["msg"]
    assert written == []
    ok(run(cloud, prefix="rampart2"))


def test_two_prefixes_do_not_meet(cloud):
    """rampart-prod-db is not the segment prod-db of the prefix rampart."""
    ok(run(cloud, prefix="rampart-prod"))
    ok(run(cloud, policy(cloud, groups={"jump": ["jump1"]}, flows=FLOWS[:2]), prefix="rampart"))
    assert "rampart-prod-db" in names(cloud).values()


def test_instances_by_name_and_by_interface(cloud):
    (interface,) = interfaces(cloud, "db1")
    hosts = {"web1": {"instance": "prod-web1"}, "db1": {"instance": interface["NetworkInterfaceId"]}}
    ok(run(cloud, policy(cloud, hosts=hosts)))
    assert attached(cloud, "web1") == ["rampart-all", "rampart-web"]
    assert attached(cloud, "db1") == ["rampart-all", "rampart-db"]
    cloud.ec2.create_tags(Resources=[cloud.ids["web2"]], Tags=[{"Key": "Name", "Value": "prod-web1"}])
    assert "several instances are called prod-web1" in run(cloud, policy(cloud, hosts=hosts))["msg"]


@pytest.mark.parametrize("instance", ["i-0123456789abcdef0", "eni-0123456789abcdef0", "prod-db9"])
def test_an_instance_that_is_not_there(cloud, instance):
    result = run(cloud, policy(cloud, hosts={"db1": {"instance": instance}}))
    assert f"no running instance or network interface for db1 ({instance})" in result["msg"]


def test_hosts_of_several_networks_are_refused(cloud):
    vpc = cloud.ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    subnet = cloud.ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.0.0/24")["Subnet"]["SubnetId"]
    cloud.ids["db2"] = cloud.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=subnet)[
        "Instances"
    ][0]["InstanceId"]
    assert f"{vpc}: db2" in run(cloud)["msg"]


def test_a_host_that_the_jump_server_reaches_by_a_public_address_is_refused(cloud):
    """A rule between groups would not let that in: the packets come from the jump server's public address."""
    given = policy(cloud, hosts={"db1": {"ansible_host": "198.51.100.201"}})
    with cloud.server.writes() as written:
        result = run(cloud, given)
    assert "Ansible reaches db1 at 198.51.100.201 through a jump server" in result["msg"]
    assert written == []


def test_quotas_are_looked_at_before_anything_is_touched(cloud):
    many = [{"from": [f"10.{number}.0.0/16" for number in range(61)], "to": "db", "port": 3306}]
    with cloud.server.writes() as written:
        assert (
            "rampart-db needs 62 rules in one direction, and the quota is 60"
            in run(cloud, policy(cloud, FLOWS + many))["msg"]
        )
        result = run(cloud, groups_per_interface=2)
    assert "needs 3 security groups while old ones are replaced, and the quota is 2" in result["msg"]
    assert written == []


def test_the_quota_counts_what_is_yet_to_be_revoked(cloud):
    ok(run(cloud))
    ports = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
             for port in range(9001, 9060)]  # fmt: skip
    cloud.ec2.authorize_security_group_ingress(GroupId=open_group(cloud), IpPermissions=ports)
    more = [*FLOWS, {"from": "10.9.0.0/16", "to": "db", "port": 3306}]
    assert (
        "needs 61 rules in one direction while undeclared ones are still there"
        in run(cloud, policy(cloud, more))["msg"]
    )


# --- somebody else, at the same time


def test_a_rule_that_somebody_adds_first_is_no_failure(cloud):
    ok(run(cloud))
    group = open_group(cloud)
    rule = [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "10.9.0.0/16"}]}]

    def before(response):
        cloud.server.hooks.clear()
        cloud.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)

    cloud.server.before("AuthorizeSecurityGroupIngress", before)
    more = policy(cloud, [*FLOWS, {"from": ["10.9.0.0/16", "10.8.0.0/16"], "to": "db", "port": 5432}])
    ok(run(cloud, more))
    assert {("tcp", 5432, 5432, "10.9.0.0/16"), ("tcp", 5432, 5432, "10.8.0.0/16")} < rules(cloud, "rampart-db")


def test_what_was_taken_away_meanwhile_is_seen_before_anything_else_is(cloud):
    """Somebody takes the SSH rule out of our group while the old groups are about to be detached: nobody is cut off."""
    seen = []

    def before(response):
        if "rampart-all" in attached(cloud, "db2"):  # the last of the interfaces to be given the new groups has them
            cloud.server.hooks.clear()
            seen.append(attached(cloud, "db1"))
            (rule,) = [
                one
                for one in cloud.ec2.describe_security_group_rules(
                    Filters=[{"Name": "group-id", "Values": [open_group(cloud, "rampart-all")]}]
                )["SecurityGroupRules"]
                if not one["IsEgress"]
            ]
            cloud.ec2.revoke_security_group_ingress(
                GroupId=rule["GroupId"], SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]]
            )

    cloud.server.before("DescribeSecurityGroupRules", before)
    ok(run(cloud))
    assert seen == [["launch-wizard-1", "rampart-all", "rampart-db"]]
    authorized = [number for number, one in enumerate(cloud.server.calls) if one == "AuthorizeSecurityGroupIngress"]
    modified = [number for number, one in enumerate(cloud.server.calls) if one == "ModifyNetworkInterfaceAttribute"]
    assert modified[4] < authorized[-1] < modified[5]
    assert rules(cloud, "rampart-all") == {("tcp", 22, 22, "rampart-jump")}


def test_a_group_that_somebody_makes_first_is_taken(cloud):
    def before(response):
        cloud.server.hooks.clear()
        make_group(cloud, "all")

    cloud.server.before("CreateSecurityGroup", before)
    ok(run(cloud))
    assert sorted(names(cloud).values()).count("rampart-all") == 1
    assert attached(cloud, "db1") == ["rampart-all", "rampart-db"]


def test_a_busy_service_is_asked_again(cloud):
    left = [2]

    def before(response):
        left[0] -= 1
        return error("RequestLimitExceeded", 503)(response) if left[0] >= 0 else None

    cloud.server.before("AuthorizeSecurityGroupIngress", before)
    ok(run(cloud))
    assert rules(cloud, "rampart-db") == {("tcp", 3306, 3306, "rampart-jump")}


# --- who may do it


POLICY = json.loads((ROOT / "docs/policies/aws-segmentation.json").read_text())


@pytest.fixture
def operator(cloud, monkeypatch):
    """Credentials of somebody who may do what a policy says; requests are about groups and interfaces, with tags."""
    arn = f"arn:aws:ec2:{REGION}:{amazon.ACCOUNT}"
    kinds = {"GroupId": "security-group", "NetworkInterfaceId": "network-interface", "VpcId": "security-group/sg-new"}
    decide = amazon.allowed

    def resource_of(service, params):
        found = [f"{arn}:{kinds[name]}/{params[name][0]}" for name in kinds if name in params]
        return found[0] if service == "ec2" and found else "*"

    def allowed(who, action, resource, context=None):
        tags = {f"aws:resourcetag/{key}": value for key, value in groups.get(resource.split("/")[-1], {}).items()}
        return decide(who, action, resource, {**(context or {}), **tags})

    def make(document):
        key = cloud.server.user(f"operator-{uuid.uuid4()}", document)
        cloud.server.enforce()
        return key

    groups = Tags(cloud.server)
    monkeypatch.setattr(amazon, "resource_of", resource_of)
    monkeypatch.setattr(amazon, "allowed", allowed)
    return make


class Tags:
    """The tags of each security group, as moto has them now."""

    def __init__(self, server):
        self.server = server

    def get(self, group, default):
        found = self.server.ec2.get_security_group_from_id(group)
        return {tag["key"]: tag["value"] for tag in found.get_tags()} if found else default


def test_the_least_permissions_are_enough(cloud, operator):
    prefixes = prefix_list(cloud, "203.0.113.0/24")
    kept = cloud.ec2.create_security_group(GroupName="kept", Description="x", VpcId=cloud.vpc)["GroupId"]
    cloud.ec2.authorize_security_group_ingress(
        GroupId=kept, IpPermissions=[{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": prefixes}]}]
    )
    (interface,) = interfaces(cloud, "db1")
    cloud.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=interface["NetworkInterfaceId"], Groups=[cloud.wizard, kept]
    )
    key = operator(POLICY)
    hosts = {"web1": {"instance": "prod-web1"}}
    egress = [{"from": "all", "to": "10.9.0.0/16", "port": 443}]
    ok(run(cloud, policy(cloud, hosts=hosts), keep_groups=["kept"], key=key))
    ok(run(cloud, policy(cloud, FLOWS[:3], hosts=hosts, egress=egress), keep_groups=["kept"], key=key))
    cloud.server.enforce(False)
    assert "rampart-db" not in names(cloud).values()


@pytest.mark.parametrize(
    "action", sorted(one for statement in POLICY["Statement"] for one in statement["Action"] if one != "ec2:CreateTags")
)
def test_each_permission_is_needed_and_named(cloud, operator, action):
    """Something is there for each of them to do."""
    prefixes = prefix_list(cloud, "203.0.113.0/24")
    close_guarded(cloud)
    cloud.ec2.authorize_security_group_ingress(
        GroupId=cloud.wizard, IpPermissions=[{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": prefixes}]}]
    )
    make_group(cloud, "gone")
    cloud.ec2.authorize_security_group_ingress(
        GroupId=make_group(cloud, "db"),
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 9, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}],
    )
    fewer = [{**one, "Action": [name for name in one["Action"] if name != action]} for one in POLICY["Statement"]]
    key = operator({**POLICY, "Statement": [one for one in fewer if one["Action"]]})
    given = policy(cloud, hosts={"web1": {"instance": "prod-web1"}}, egress=[])
    result = run(cloud, given, keep_groups=[cloud.wizard], key=key)
    assert result["failed"] and f"need {action}" in result["msg"]


def test_credentials_that_are_none(cloud):
    environment = {"AWS_EC2_METADATA_DISABLED": "true"}
    result = module("aws_segmentation", {"policy": policy(cloud), "region": REGION}, env=environment)
    assert "There are no usable credentials for Amazon" in result["msg"]
    cloud.server.before("DescribeNetworkInterfaces", error("RequestExpired", 400))
    assert "The credentials are not valid" in run(cloud)["msg"]


def test_a_policy_that_is_none(cloud):
    result = run(cloud, {"segments": {}})
    assert "policy is what the filter rampart.hardening.cloud_segments makes" in result["msg"]


def test_the_playbook(cloud, tmp_path):
    """What a person runs, with the inventory of the worked example."""
    hosts = {host: {"instance_id": cloud.ids[host], "ansible_host": "127.0.0.1"} for host in HOSTS}
    inventory = tmp_path / "inventory.json"
    settings = {"region": REGION, "endpoint_url": cloud.server.url}
    inventory.write_text(
        json.dumps(
            {
                "all": {
                    "vars": {
                        "hardening_flows": FLOWS,
                        "hardening_controllers": segments.CONTROLLERS,
                        "hardening_aws_segmentation": settings,
                    },
                    "hosts": hosts,
                    "children": {group: {"hosts": dict.fromkeys(members, {})} for group, members in GROUPS.items()},
                }
            }
        )
    )
    command = ["ansible-playbook", "-i", inventory, ROOT / "playbooks/cloud_segmentation.yml"]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ANSIBLE_"))},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCALHOST_WARNING": "false",
        "AWS_ACCESS_KEY_ID": "setup", "AWS_SECRET_ACCESS_KEY": "setup",
    }  # fmt: skip
    for told, changed in (("390 paths were open and 19 are open, 95.1 % fewer", 1), ("19 are open, 0.0 % fewer", 0)):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert told in " ".join(done.stdout.split())
        assert f"changed={changed}" in done.stdout
    assert attached(cloud, "db1") == ["rampart-all", "rampart-db"]
