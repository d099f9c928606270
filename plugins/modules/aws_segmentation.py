#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aws_segmentation
short_description: Let the security groups of instances allow what the flows declare, and nothing else
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Makes a security group of each segment of hosts, lets its rules name other groups rather than addresses, and gives
    the network interfaces of the hosts exactly the groups of the segments that they are in.
  - Rules that are not declared are revoked, in IPv4, IPv6, prefix lists and references to groups. Other security groups
    are detached from the hosts, and are themselves left alone.
  - First missing rules are added, then groups attached, and only when all of that is found is anything taken away.
  - Without an egress policy the egress rules of the groups are left as they are; Amazon's default lets everything out.
  - The hosts lie in one VPC. Those of another one are outside, give the filter a variable that they do not have.
extends_documentation_fragment:
  - rampart.hardening.segmentation
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  prefix:
    description: What the names of the security groups begin with, before a hyphen and the name of the segment.
    type: str
    default: rampart
  keep_groups:
    description:
      - Other security groups, by id or by name, that stay on interfaces where they are, as those of a managed service.
      - What they open is counted, and refused where the world could reach a port that it may not.
    type: list
    elements: str
    default: []
  rules_per_group:
    description: The account's quota of rules in a group for each direction and address family.
    type: int
    default: 60
  groups_per_interface:
    description: The account's quota of security groups on a network interface.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Segment the instances as the flows say
  rampart.hardening.aws_segmentation:
    region: eu-central-1
    policy: >-
      {{ hardening_flows | rampart.hardening.cloud_segments(groups, hostvars, 'instance_id',
                                                            controllers=hardening_controllers) }}
  delegate_to: localhost
  run_once: true

- name: The same, where administrators have no fixed address and a load balancer's group has to stay
  rampart.hardening.aws_segmentation:
    policy: "{{ hardening_flows | rampart.hardening.cloud_segments(groups, hostvars, 'instance_id') }}"
    keep_groups: [k8s-elb-a1b2c3]
    allow_world:
      - {segment: jump, port: 22, reason: "no fixed addresses until the VPN is there, ticket 4711"}
"""

RETURN = r"""
segments:
  description: The security group and the hosts of each segment. In check mode the id of a group to be made is empty.
  returned: success
  type: dict
  sample: {db: {group: sg-0a1b2c3d, name: rampart-db, hosts: [db1]}}
drift:
  description: What was found to be there and is not declared, and what is declared and was not there.
  returned: success
  type: dict
  contains:
    undeclared: {description: Rules and attached groups., type: list, elements: str}
    missing: {description: Rules and attached groups., type: list, elements: str}
paths:
  description: How many (source, destination, port) are open before and after, and by how many percent there are fewer.
  returned: success
  type: dict
  sample: {before: 120, after: 12, reduction: 90.0}
waived:
  description: The waivers in force.
  returned: success
  type: list
  elements: dict
outside:
  description: Hosts of the inventory that are not in this cloud and that flows come from, by address.
  returned: success
  type: list
  elements: str
left:
  description: Groups of segments that are no more, which something else still uses.
  returned: success
  type: list
  elements: str
"""

import ipaddress
import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.rampart.hardening.plugins.module_utils import segmentation
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_aws import Aws

TAG = "rampart:segment"
CHUNK = 200  # values of a filter
PASSES = 6
NUMBERS = {"-1": "-", "1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}

# A rule is (direction, proto, first, last, kind, peer); kind is network, segment, group (another) or list (of prefixes)


def wanted_rules(rule):
    """The rules of a security group for a rule of the policy."""
    kind, peer = rule["kind"], rule["peer"]
    protos = [rule["proto"]]
    if kind == "network":
        net = ipaddress.ip_network(peer)
        peer = str(net)
        if rule["proto"] == "icmp" and net.version == 6:
            protos = ["icmpv6"]
    elif rule["proto"] == "icmp":
        protos = ["icmp", "icmpv6"]
    ports = rule["ports"] or [(-1, -1)]
    return {(rule["direction"], proto, first, last, kind, peer) for proto in protos for first, last in ports}


def existing_rule(found, segments):
    """A rule as DescribeSecurityGroupRules has it; *segments* are our groups' ids and names."""
    proto = NUMBERS.get(found["IpProtocol"], found["IpProtocol"])
    first, last = (0, 65535) if proto == "-" else (found.get("FromPort", -1), found.get("ToPort", -1))
    if "CidrIpv4" in found or "CidrIpv6" in found:
        kind, peer = "network", found.get("CidrIpv4") or found.get("CidrIpv6")
    elif "PrefixListId" in found:
        kind, peer = "list", found["PrefixListId"]
    else:
        kind, peer = group_key(found["ReferencedGroupInfo"]["GroupId"], segments)
    return ("egress" if found["IsEgress"] else "ingress", proto, first, last, kind, peer)


def group_key(group, segments):
    return ("segment", segments[group]) if group in segments else ("group", group)


def permission(rule, ids):
    """A rule as the calls that authorize want it."""
    dummy, proto, first, last, kind, peer = rule
    made = {"IpProtocol": proto, "FromPort": first, "ToPort": last}
    if kind == "segment":
        made["UserIdGroupPairs"] = [{"GroupId": ids[peer]}]
    elif ":" in peer:
        made["Ipv6Ranges"] = [{"CidrIpv6": peer}]
    else:
        made["IpRanges"] = [{"CidrIp": peer}]
    return made


def quota(rules):
    """The most rules that these are, in one direction and address family."""
    counts = {}
    for rule in rules:
        for family in (4, 6):
            if rule[4] != "network" or (":" in rule[5]) is (family == 6):
                counts[rule[0], family] = counts.get((rule[0], family), 0) + 1
    return max(counts.values(), default=0)


def directions(policy):
    """Which rules are declared; the others are left as they are."""
    return ("ingress", "egress") if policy["egress"] else ("ingress",)


class State:
    """What is there: *interfaces* {id: {host, groups, addresses, vpc}}, *names* and *rules* of groups by key.

    The key of a group is (segment, name) for ours and (group, id) for others.
    """

    def __init__(self):
        self.interfaces, self.names, self.ids, self.rules, self.used = {}, {}, {}, {}, set()


class Plan:
    """What has to be done so that what is there becomes what is declared."""

    def __init__(self, policy, state, keep):
        segments = policy["segments"]
        self.wanted = {("segment", name): set() for name in segments}
        for rule in policy["rules"]:
            self.wanted["segment", rule["segment"]] |= wanted_rules(rule)
        there = {
            key: {rule: name for name, rule in state.rules.get(key, {}).items() if rule[0] in directions(policy)}
            for key in self.wanted
        }
        self.create = sorted(name for kind, name in self.wanted if (kind, name) not in state.ids)
        self.authorize = {key: sorted(wanted - set(there[key])) for key, wanted in self.wanted.items()}
        self.revoke = {
            key: {rule: name for rule, name in there[key].items() if rule not in wanted}
            for key, wanted in self.wanted.items()
        }
        self.groups = {}  # of each interface, in the end
        for interface, found in state.interfaces.items():
            ours = {("segment", name) for name, hosts in segments.items() if found["host"] in hosts}
            self.groups[interface] = ours | {key for key in found["groups"] if key in keep}
        self.attach = {
            interface: sorted(groups - set(state.interfaces[interface]["groups"]))
            for interface, groups in self.groups.items()
        }
        self.detach = {
            interface: sorted(set(state.interfaces[interface]["groups"]) - groups)
            for interface, groups in self.groups.items()
        }
        stale = sorted(key for key in state.ids if key[0] == "segment" and key not in self.wanted)
        self.left = [key for key in stale if key in state.used]
        self.delete = [key for key in stale if key not in state.used]

    @property
    def adds(self):
        return bool(self.create or any(self.authorize.values()) or any(self.attach.values()))

    @property
    def takes(self):
        return bool(any(self.revoke.values()) or any(self.detach.values()) or self.delete)


class Segmentation:
    def __init__(self, module):
        self.module, self.policy, self.prefix = module, module.params["policy"], module.params["prefix"]
        self.aws = Aws(module)
        self.stuck = set()  # groups that Amazon does not let go of

    # --- what is there

    def read(self):
        state = State()
        self.read_interfaces(state)
        vpcs = {}
        for found in state.interfaces.values():
            vpcs.setdefault(found["vpc"], set()).add(found["host"])
        if len(vpcs) > 1:
            lie = "; ".join(f"{vpc}: {', '.join(sorted(hosts))}" for vpc, hosts in sorted(vpcs.items()))
            self.refuse(
                f"the hosts lie in several VPCs ({lie}), and a security group belongs to one: give the filter a "
                "variable that only the hosts of one VPC have"
            )
        self.vpc = next(iter(vpcs))
        segments, foreign = {}, {}
        for group in self.list("describe_security_groups", "SecurityGroups", {"vpc-id": [self.vpc]}):
            tags = {tag["Key"]: tag["Value"] for tag in group.get("Tags", [])}
            if TAG in tags and self.name(tags[TAG]) == group["GroupName"]:
                segments[group["GroupId"]] = tags[TAG]
            else:
                foreign[group["GroupName"]] = group["GroupId"]
            state.names[group_key(group["GroupId"], segments)] = group["GroupName"]
        if taken := sorted({self.name(name) for name in self.policy["segments"]} & set(foreign)):
            self.refuse(
                f"{', '.join(taken)} exists in {self.vpc} and is not of this module (no tag {TAG}): rename it, or give "
                "another prefix"
            )
        state.ids = {("segment", name): group for group, name in segments.items()}
        unknown = set(self.module.params["keep_groups"]) - set(foreign) - set(foreign.values())
        if unknown:
            self.refuse(f"keep_groups: there is no other security group {', '.join(sorted(unknown))} in {self.vpc}")
        self.keep = {("group", foreign.get(name, name)) for name in self.module.params["keep_groups"]}
        for found in state.interfaces.values():
            found["groups"] = [group_key(group, segments) for group in found["groups"]]
        for key in list(state.names):
            if key[0] == "group":
                state.ids[key] = key[1]
        attached = {key for found in state.interfaces.values() for key in found["groups"]}
        state.rules = {key: {} for key in state.ids if key[0] == "segment" or key in attached}
        state.used = set(self.stuck)
        stale = sorted(group for group, name in segments.items() if name not in self.policy["segments"])
        ids = sorted(state.ids[key] for key in (state.ids if stale else state.rules))
        for found in self.list("describe_security_group_rules", "SecurityGroupRules", {"group-id": ids}):
            key, rule = group_key(found["GroupId"], segments), existing_rule(found, segments)
            if key in state.rules:
                state.rules[key][found["SecurityGroupRuleId"]] = rule
            if key[0] == "group" and rule[4] == "segment":
                state.used.add(rule[4:])
        if stale:
            for found in self.list("describe_network_interfaces", "NetworkInterfaces", {"group-id": stale}):
                if found["NetworkInterfaceId"] not in state.interfaces:
                    state.used |= {group_key(group["GroupId"], segments) for group in found["Groups"]}
        return state

    def name(self, segment):
        return f"{self.prefix}-{segment}"

    def list(self, operation, key, filters):
        """All that match, where a filter may have more values than one call takes."""
        found = []
        ((name, values),) = filters.items()
        for start in range(0, len(values), CHUNK):
            wanted = [{"Name": name, "Values": values[start : start + CHUNK]}]
            found += self.aws.call("ec2", operation, Filters=wanted)[key]
        return found

    def read_interfaces(self, state):
        hosts = {found["instance"]: host for host, found in self.policy["hosts"].items()}
        names = sorted(value for value in hosts if not value.startswith(("i-", "eni-")))
        by_name = {}
        for reservation in self.list("describe_instances", "Reservations", {"tag:Name": names}) if names else []:
            for instance in reservation["Instances"]:
                if instance["State"]["Name"] not in ("terminated", "shutting-down"):
                    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
                    by_name.setdefault(tags["Name"], []).append(instance["InstanceId"])
        if several := sorted(name for name, found in by_name.items() if len(found) > 1):
            self.refuse(f"several instances are called {', '.join(several)}: name the instance by its id")
        hosts.update({found[0]: hosts[name] for name, found in by_name.items()})
        instances = sorted(value for value in hosts if value.startswith("i-"))
        interfaces = sorted(value for value in hosts if value.startswith("eni-"))
        key = "NetworkInterfaces"
        seen = self.list("describe_network_interfaces", key, {"attachment.instance-id": instances})
        for one in seen + self.list("describe_network_interfaces", key, {"network-interface-id": interfaces}):
            host = hosts.get(one["NetworkInterfaceId"]) or hosts[one["Attachment"]["InstanceId"]]
            state.interfaces[one["NetworkInterfaceId"]] = {
                "host": host,
                "vpc": one["VpcId"],
                "groups": [group["GroupId"] for group in one["Groups"]],
                "addresses": [address["PrivateIpAddress"] for address in one["PrivateIpAddresses"]]
                + [address["Ipv6Address"] for address in one.get("Ipv6Addresses", [])],
            }
        missing = set(self.policy["hosts"]) - {found["host"] for found in state.interfaces.values()}
        if missing:
            named = ", ".join(f"{host} ({self.policy['hosts'][host]['instance']})" for host in sorted(missing))
            self.refuse(f"there is no running instance or network interface for {named} in this region")

    def refuse(self, why):
        if self.aws.done:
            self.aws.fail(f"Stopped: {why}.")
        self.module.fail_json(msg=f"Refused before anything was changed: {why}.")

    # --- what stands against it

    def check(self, state, plan):
        trouble = []
        for host, found in self.policy["hosts"].items():
            addresses = {one for nic in state.interfaces.values() if nic["host"] == host for one in nic["addresses"]}
            if found["address"] and found["address"] not in addresses:
                trouble.append(
                    f"Ansible reaches {host} at {found['address']} through a jump server of this VPC, and rules between"
                    f" security groups let in to private addresses only: set its ansible_host to {min(addresses)}"
                )
        refused, self.kept_waived = segmentation.judge(
            segmentation.exposed(self.kept(state)), self.module.params["allow_world"]
        )
        trouble += refused
        limit = self.module.params["rules_per_group"]
        for key, wanted in plan.wanted.items():
            both = wanted | set(state.rules.get(key, {}).values())
            if quota(both) > limit:
                still = "" if quota(wanted) > limit else " while undeclared ones are still there"
                trouble.append(
                    f"{self.name(key[1])} needs {quota(both)} rules in one direction{still}, and the quota is {limit}: "
                    "let flows name fewer networks and ports, or have the quota raised and set rules_per_group"
                )
        limit = self.module.params["groups_per_interface"]
        for interface, found in sorted(state.interfaces.items()):
            most = len(set(found["groups"]) | plan.groups[interface])
            if most > limit:
                trouble.append(
                    f"{interface} of {found['host']} needs {most} security groups while old ones are replaced, and the "
                    f"quota is {limit}: let fewer groups of the inventory be ends of flows, detach what nobody needs, "
                    "or have the quota raised and set groups_per_interface"
                )
        if trouble:
            self.refuse("; ".join(trouble))

    def kept(self, state):
        """The networks that the groups which are kept let in: (name, proto, first, last, network)."""
        for key in self.keep & set(state.rules):
            for direction, proto, first, last, kind, peer in state.rules[key].values():
                networks = [peer] if kind == "network" else []
                if kind == "list":
                    entries = self.aws.call("ec2", "get_managed_prefix_list_entries", PrefixListId=peer)["Entries"]
                    networks = [entry["Cidr"] for entry in entries]
                for network in networks if direction == "ingress" else ():
                    yield state.names[key], proto, first, last, network

    # --- what is told

    def line(self, key, rule, state):
        direction, proto, first, last, kind, peer = rule
        if kind in ("segment", "group"):
            peer = self.group(state, (kind, peer))
        way = "from" if direction == "ingress" else "to"
        return f"{self.group(state, key)}: {direction} {segmentation.show_ports(proto, first, last)} {way} {peer}"

    def group(self, state, key):
        return state.names.get(key) or (self.name(key[1]) if key[0] == "segment" else key[1])

    def report(self, state, plan):
        """The result without what only the run itself can tell."""

        def attached(changes):
            return [
                f"{state.interfaces[interface]['host']} {interface}: {self.group(state, key)}"
                for interface, keys in changes.items()
                for key in keys
            ]

        def rules(changes):
            return [self.line(key, rule, state) for key, found in changes.items() for rule in found]

        new = {("segment", name) for name in plan.create}
        undeclared = sorted(rules(plan.revoke) + attached(plan.detach))
        missing = {key: found for key, found in plan.authorize.items() if key not in new}
        before = {
            key: {rule for rule in rules.values() if rule[0] in directions(self.policy)}
            for key, rules in state.rules.items()
            if key[0] == "segment"
        }
        after = {key: before.get(key, set()) - set(plan.revoke[key]) | wanted for key, wanted in plan.wanted.items()}
        after.update({key: before[key] for key in plan.left})
        result = {
            "drift": {"undeclared": undeclared, "missing": sorted(rules(missing) + attached(plan.attach))},
            "left": sorted(self.group(state, key) for key in plan.left),
            "outside": sorted(self.policy["outside"]),
            "paths": segmentation.paths(*self.count(state, plan)),
            "waived": self.waived + self.kept_waived,
        }
        if self.module._diff:
            interfaces = {interface: found["groups"] for interface, found in state.interfaces.items()}
            result["diff"] = {
                side: "".join(f"{line}\n" for line in sorted(rules(found)) + sorted(attached(groups)))
                for side, found, groups in (("before", before, interfaces), ("after", after, plan.groups))
            }
        return result

    def count(self, state, plan):
        """The open paths before and after."""
        before = {key: set(rules.values()) for key, rules in state.rules.items()}
        after = {key: rules for key, rules in before.items() if key[0] == "group"}
        for key, wanted in plan.wanted.items():
            after[key] = before.get(key, set()) - set(plan.revoke[key]) | wanted
            if not self.policy["egress"] and key not in before:  # what a new group is given
                after[key] = wanted | {("egress", "-", 0, 65535, "network", net) for net in ("0.0.0.0/0", "::/0")}
        everything = set().union(*before.values(), *after.values())
        networks = {rule[5] for rule in everything if rule[4] in ("network", "list")}
        single = {(rule[1], rule[2]) for rule in everything if rule[1] in ("tcp", "udp") and rule[2] == rule[3]}
        ports = segmentation.counted_ports(self.policy, single)
        hosts = {
            host: [one for nic in state.interfaces.values() if nic["host"] == host for one in nic["addresses"]]
            for host in self.policy["hosts"]
        }
        around = segmentation.sources(hosts, self.policy["outside"], networks)
        attached = {interface: found["groups"] for interface, found in state.interfaces.items()}
        for rules, groups in ((before, attached), (after, plan.groups)):
            members = {host: set() for host in hosts}
            for interface, keys in groups.items():
                members[state.interfaces[interface]["host"]] |= set(keys)
            # what a host is to the rules of others: its groups, and the networks around it
            ends = {name: (frozenset(members[name]) if name in hosts else None, nets) for name, nets in around.items()}

            def opened(source, destination, rules=rules):
                into = passed(rules, destination[0], "ingress", source)
                if source[0] is None:
                    return into
                return segmentation.both(into, passed(rules, source[0], "egress", destination))

            yield segmentation.count_paths(ends, {host: ends[host] for host in hosts}, ports, opened)

    # --- what is done

    def write(self, what, operation, **params):
        """Change something; None where an error among `absent` says that it was so already."""
        result = self.aws.call("ec2", operation, **params)
        if result is not None:
            self.aws.done.append(what)
        return result

    def apply(self):
        """Bring about what is declared; what is there is looked at anew before anything is taken away."""
        for number in range(PASSES):
            state = self.read()
            plan = Plan(self.policy, state, self.keep)
            if plan.adds:
                through = self.add(state, plan)
            elif plan.takes:
                through = self.take(state, plan)
            else:
                break
            if not through:  # somebody else was there between looking and writing, or Amazon is not of one mind yet
                time.sleep(number)
        else:
            self.aws.fail("The security groups changed as often as they were written: look who else writes them.")
        return state

    def add(self, state, plan):
        done = []
        for name in plan.create:
            made = self.write(
                f"made {self.name(name)}", "create_security_group", absent=("InvalidGroup.Duplicate",),
                GroupName=self.name(name), VpcId=self.vpc, Description=f"Segment {name}, managed by rampart.hardening",
                TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": TAG, "Value": name}]}],
            )  # fmt: skip
            done.append(made)
            if made:
                state.ids["segment", name] = made["GroupId"]
        if not all(done):
            return False
        ids = {key[1]: found for key, found in state.ids.items() if key[0] == "segment"}
        for key, rules in plan.authorize.items():
            for direction in ("ingress", "egress"):
                if missing := [permission(rule, ids) for rule in rules if rule[0] == direction]:
                    done.append(
                        self.write(
                            f"added {len(missing)} {direction} rules to {self.name(key[1])}",
                            f"authorize_security_group_{direction}", GroupId=ids[key[1]], IpPermissions=missing,
                            absent=("InvalidPermission.Duplicate",), again=("InvalidGroup.NotFound",),
                        )
                    )  # fmt: skip
        if not all(done):
            return False
        for interface, missing in plan.attach.items():
            if missing:
                self.attach(state, interface, [*state.interfaces[interface]["groups"], *missing])
        return True

    def attach(self, state, interface, groups):
        named = ", ".join(sorted(self.group(state, key) for key in groups))
        self.write(
            f"gave {interface} of {state.interfaces[interface]['host']} the groups {named}",
            "modify_network_interface_attribute", NetworkInterfaceId=interface,
            Groups=sorted({state.ids[key] for key in groups}), again=("InvalidGroup.NotFound",),
        )  # fmt: skip

    def take(self, state, plan):
        for interface, found in plan.detach.items():
            if found:
                self.attach(state, interface, plan.groups[interface])
        done = []
        for key, rules in plan.revoke.items():
            for direction in ("ingress", "egress"):
                if names := sorted(name for rule, name in rules.items() if rule[0] == direction):
                    done.append(
                        self.write(
                            f"revoked {len(names)} {direction} rules of {self.name(key[1])}",
                            f"revoke_security_group_{direction}", GroupId=state.ids[key], SecurityGroupRuleIds=names,
                            absent=("InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound"),
                        )
                    )  # fmt: skip
        for key in plan.delete:
            gone = self.write(
                f"deleted {self.group(state, key)}", "delete_security_group", GroupId=state.ids[key],
                absent=("InvalidGroup.NotFound", "DependencyViolation"),
            )  # fmt: skip
            if gone is None:
                self.stuck.add(key)
        return all(done)

    def run(self):
        trouble = segmentation.policy_trouble(self.policy)
        if trouble:
            self.refuse(trouble)
        refused, self.waived = segmentation.judge(
            segmentation.exposures(self.policy), self.module.params["allow_world"]
        )
        if refused:
            self.refuse(f"{'; '.join(refused)}. Let the flow come from where people are, or waive it with allow_world")
        state = self.read()
        plan = Plan(self.policy, state, self.keep)
        self.check(state, plan)
        result = self.report(state, plan)
        changed = plan.adds or plan.takes
        if changed and not self.module.check_mode:
            state = self.apply()
            changed = bool(self.aws.done)
            result["left"] = sorted({*result["left"], *(self.name(key[1]) for key in self.stuck)})
        result["segments"] = {
            name: {"group": state.ids.get(("segment", name), ""), "name": self.name(name), "hosts": hosts}
            for name, hosts in self.policy["segments"].items()
        }
        self.module.exit_json(changed=changed, **result)


def passed(rules, groups, direction, peer):
    """The ports that the rules of these groups open to a peer, which is (its groups, the networks around it)."""
    members, networks = peer
    return {
        (proto, first, last)
        for key in groups
        for way, proto, first, last, kind, name in rules[key]
        if way == direction and (name in networks if kind in ("network", "list") else (kind, name) in (members or ()))
    }


def main():
    module = AnsibleAWSModule(
        argument_spec={
            "policy": {"type": "dict", "required": True},
            "allow_world": segmentation.WAIVERS,
            "prefix": {"type": "str", "default": "rampart"},
            "keep_groups": {"type": "list", "elements": "str", "default": []},
            "rules_per_group": {"type": "int", "default": 60},
            "groups_per_interface": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    Segmentation(module).run()


if __name__ == "__main__":
    main()
