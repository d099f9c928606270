#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: azure_segmentation
short_description: Let the network security group of virtual machines allow what the flows declare, and nothing else
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Makes an application security group of each segment of hosts and one network security group whose rules name them,
    and gives the network interfaces of the hosts that network security group and exactly the application security
    groups of their segments. Application security groups of others stay on interfaces.
  - What is not declared is denied, traffic within the virtual network too, which Azure's default rules would let pass.
    Probes of Azure's load balancers get through, as by its default rules. Undeclared rules are removed.
  - First interfaces join their groups, then the rules are written, all at once, and only when all of that is found do
    interfaces change their network security group and leave groups.
  - Everything is written with the etag of what was read, so that what somebody else writes meanwhile is not lost.
  - Without an egress policy the outbound rules are left as they are; Azure's default lets everything out.
  - The hosts lie in one virtual network. Those of another one are outside, give the filter a variable that they do not
    have. Network security groups of subnets are counted and left alone.
extends_documentation_fragment:
  - rampart.hardening.segmentation
  - rampart.hardening.azure
requirements:
  - azure-mgmt-network >= 31.0
options:
  resource_group:
    description: Where the network security group and the application security groups are.
    type: str
    required: true
  prefix:
    description:
      - The name of the network security group, and what the names of the application security groups begin with, before
        a hyphen and the name of the segment.
    type: str
    default: rampart
"""

EXAMPLES = r"""
- name: Segment the virtual machines as the flows say
  rampart.hardening.azure_segmentation:
    subscription_id: 00000000-0000-0000-0000-000000000000
    resource_group: network
    policy: >-
      {{ hardening_flows | rampart.hardening.cloud_segments(groups, hostvars, 'id',
                                                            controllers=hardening_controllers) }}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
segments:
  description: The application security group and the hosts of each segment.
  returned: success
  type: dict
  sample: {db: {group: rampart-db, hosts: [db1]}}
drift:
  description: What was found to be there and is not declared, and what is declared and was not there.
  returned: success
  type: dict
  contains:
    undeclared: {description: Rules and groups of interfaces., type: list, elements: str}
    missing: {description: Rules and groups of interfaces., type: list, elements: str}
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

import copy
import hashlib
import io
import ipaddress
import json
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils import segmentation
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_azure import AZURE_ARGS, Azure, explain

try:
    from azure.core.exceptions import HttpResponseError
except ImportError:
    HttpResponseError = None  # Azure says so

TAG = "rampart-segment"
PASSES = 10
RULES = 1000  # in a network security group
GROUPS = 20  # application security groups of an interface
FIRST = 100  # priorities of declared rules
LAST = 4094
PROBES = "rampart-probes"
PROTOCOLS = {"tcp": "Tcp", "udp": "Udp", "icmp": "Icmp"}
DIRECTIONS = {"ingress": "Inbound", "egress": "Outbound"}


# --- rules, pure


def rule_name(rule):
    """The name of a rule, the same every time; people can read it, and the end makes it the only one of its kind."""
    key = "|".join((rule["direction"], rule["segment"], rule["proto"], rule["kind"], rule["peer"]))
    words = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(key.split("|")[:3] + [rule["peer"]]))[:70]
    return f"{words}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def wanted_rule(rule, group_id):
    """A rule of the policy as a security rule, without its priority; *group_id* gives the id of a segment's group."""
    own = {"ApplicationSecurityGroups": [{"id": group_id(rule["segment"])}]}
    if rule["kind"] == "segment":
        peer = {"ApplicationSecurityGroups": [{"id": group_id(rule["peer"])}]}
    else:
        peer = {"AddressPrefix": str(ipaddress.ip_network(rule["peer"]))}
    source, destination = (peer, own) if rule["direction"] == "ingress" else (own, peer)
    ports = [str(first) if first == last else f"{first}-{last}" for first, last in rule["ports"]]
    return {
        "access": "Allow",
        "direction": DIRECTIONS[rule["direction"]],
        "protocol": PROTOCOLS[rule["proto"]],
        "sourcePortRange": "*",
        **({"destinationPortRanges": ports} if ports else {"destinationPortRange": "*"}),
        **{f"source{key}": value for key, value in source.items()},
        **{f"destination{key}": value for key, value in destination.items()},
        "description": ("hardening_flows: " + ", ".join(rule["flows"]))[:140],
    }


def closing_rules(egress):
    """What is denied: everything that no rule before allows, but for the probes of load balancers."""
    every = {"protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*", "destinationAddressPrefix": "*"}
    inbound = {**every, "direction": "Inbound"}
    rules = {
        PROBES: {**inbound, "access": "Allow", "priority": 4095, "sourceAddressPrefix": "AzureLoadBalancer"},
        "rampart-deny-in": {**inbound, "access": "Deny", "priority": 4096, "sourceAddressPrefix": "*"},
    }
    if egress:
        outbound = {**every, "direction": "Outbound", "access": "Deny", "priority": 4096, "sourceAddressPrefix": "*"}
        rules["rampart-deny-out"] = outbound
    return rules


def meaning(properties):
    """What a security rule says, however it is written: everything but its priority and its description."""

    def listed(key):
        found = list(properties.get(key + ("es" if key.endswith("x") else "s")) or [])
        if properties.get(key):
            found.append(properties[key])
        return frozenset(one.lower() for one in found)

    def end(side):
        groups = properties.get(f"{side}ApplicationSecurityGroups") or []
        return listed(f"{side}AddressPrefix"), frozenset(group["id"].lower() for group in groups)

    return (
        properties["direction"],
        properties["access"],
        properties["protocol"].lower(),
        end("source"),
        end("destination"),
        listed("sourcePortRange"),
        listed("destinationPortRange"),
    )


def prioritized(wanted, there):
    """Wanted rules with priorities: those that are there keep theirs, new ones get the next that is free."""
    taken = {"Inbound": set(), "Outbound": set()}
    result = {}
    for name, properties in sorted(wanted.items()):
        priority = properties.get("priority") or there.get(name, {}).get("priority")
        fixed = "priority" in properties
        if priority and (fixed or FIRST <= priority <= LAST) and priority not in taken[properties["direction"]]:
            result[name] = {**properties, "priority": priority}
            taken[properties["direction"]].add(priority)
    for name, properties in sorted(wanted.items()):
        if name not in result:
            used = taken[properties["direction"]]
            # more than there are priorities for is refused later, with a sentence
            priority = next(number for number in range(FIRST, LAST + len(wanted)) if number not in used)
            used.add(priority)
            result[name] = {**properties, "priority": priority}
    return result


def port_range(text):
    first, dummy, last = text.partition("-")
    return (0, 65535) if text == "*" else (int(first), int(last or first))


def rules_of(group):
    return ((group or {}).get("properties") or {}).get("securityRules") or []


class Filter:
    """A network security group as packets meet it: its rules by priority, then Azure's default rules."""

    def __init__(self, group):
        properties = group["properties"]
        found = rules_of(group) + (properties.get("defaultSecurityRules") or [])
        self.rules = []
        for rule in sorted((one["properties"] for one in found), key=lambda one: one["priority"]):
            direction, access, proto, source, destination, dummy, ports = meaning(rule)
            ranges = [port_range(one) for one in ports]
            self.rules.append((direction, access == "Allow", proto, source, destination, ranges))

    def passes(self, direction, source, destination, proto, port):
        for way, allowed, protocol, sources, destinations, ranges in self.rules:
            if (
                way == direction
                and protocol in (proto, "*")
                and any(first <= port <= last for first, last in ranges)
                and within(sources, source)
                and within(destinations, destination)
            ):
                return allowed
        return False


def within(ends, who):
    """Whether somebody, (its groups, the prefixes around it), is one of the ends of a rule."""
    prefixes, groups = ends
    return bool("*" in prefixes or prefixes & who[1] or groups & who[0])


class Plan:
    """What has to be done so that what is there becomes what is declared."""

    def __init__(self, policy, state, names):
        segments = policy["segments"]
        self.create = sorted(name for name in segments if name not in state.groups)
        there = {rule["name"]: rule["properties"] for rule in rules_of(state.nsg)}
        wanted = {rule_name(rule): wanted_rule(rule, names.group_id) for rule in policy["rules"]}
        wanted.update(closing_rules(policy["egress"]))
        kept = {name: one for name, one in there.items() if one["direction"] == "Outbound" and not policy["egress"]}
        self.rules = {**prioritized(wanted, there), **kept}
        same = {name for name, one in self.rules.items() if name in there and rule_key(there[name]) == rule_key(one)}
        self.missing = {name: self.rules[name] for name in self.rules if name not in same}
        self.undeclared = {name: one for name, one in there.items() if name not in same}
        failed = state.nsg and state.nsg["properties"].get("provisioningState") == "Failed"
        self.nsg = state.nsg is None or bool(failed or self.missing or self.undeclared)
        self.join, self.leave, self.attach, self.groups = {}, {}, {}, {}
        ours = {group["id"].lower(): name for name, group in state.groups.items()}
        for nic, found in state.nics.items():
            member = {ours[group] for group in found["groups"] if group in ours}
            target = {name for name, hosts in segments.items() if found["host"] in hosts}
            self.groups[nic] = target
            self.join[nic] = sorted(target - member)
            self.leave[nic] = sorted(member - target)
            self.attach[nic] = found["nsg"] != names.nsg_id.lower()
        stale = sorted(set(state.groups) - set(segments))
        self.left = [name for name in stale if name in state.used]
        self.delete = [name for name in stale if name not in state.used]

    @property
    def changes(self):
        members = (self.join, self.leave, self.attach)
        return bool(self.create or self.nsg or self.delete or any(any(found.values()) for found in members))


def rule_key(properties):
    return meaning(properties), properties["priority"]


class State:
    """What is there.

    *nics* {id: {host, groups, nsg, subnet, addresses, body}}, *groups* {segment: group}, *filters* {id: network
    security group}, *subnets* {id: its filter}, the *space* of the virtual network, segments that are *used* by others.
    """

    def __init__(self):
        self.nics, self.groups, self.nsg, self.filters, self.subnets, self.space = {}, {}, None, {}, {}, []
        self.used = set()


class Segmentation:
    def __init__(self, module):
        self.module, self.policy, self.prefix = module, module.params["policy"], module.params["prefix"]
        self.place = module.params["resource_group"]
        self.azure = Azure(module)
        self.network = self.azure.client("network")
        base = f"/subscriptions/{self.azure.subscription}/resourceGroups/{self.place}/providers/Microsoft.Network"
        self.nsg_id = f"{base}/networkSecurityGroups/{self.prefix}"
        self.base = base
        self.done, self.why = [], "nothing"
        self.stuck = set()  # groups that Azure does not let go of

    def name(self, segment):
        return f"{self.prefix}-{segment}"

    def group_id(self, segment):
        return f"{self.base}/applicationSecurityGroups/{self.name(segment)}"

    def refuse(self, why):
        when = f"Stopped after: {'; '.join(self.done)}" if self.done else "Refused before anything was changed"
        self.module.fail_json(msg=f"{when}: {why}.", done=self.done, changed=bool(self.done))

    # --- what is there

    def read(self):
        state = State()
        with self.azure.telling("Looking at the network failed", done=self.done, changed=bool(self.done)):
            nics = [one.as_dict() for one in self.network.network_interfaces.list_all()]
            groups = [one.as_dict() for one in self.network.application_security_groups.list(self.place)]
            nsgs = [one.as_dict() for one in self.network.network_security_groups.list_all()]
            networks = [one.as_dict() for one in self.network.virtual_networks.list_all()]
        self.read_nics(state, nics)
        for group in groups:
            segment = (group.get("tags") or {}).get(TAG)
            if segment and group["name"].lower() == self.name(segment).lower():
                state.groups[segment] = group
            elif group["name"].lower() in {self.name(one).lower() for one in self.policy["segments"]}:
                self.refuse(f"{group['id']} is not of this module (no tag {TAG}): rename it, or give another prefix")
        for nsg in nsgs:
            state.filters[nsg["id"].lower()] = nsg
        state.nsg = state.filters.get(self.nsg_id.lower())
        if state.nsg and TAG not in (state.nsg.get("tags") or {}):
            self.refuse(f"{self.nsg_id} is not of this module (no tag {TAG}): rename it, or give another prefix")
        lie = {}
        for found in state.nics.values():
            lie.setdefault(found["subnet"].lower().partition("/subnets/")[0], set()).add(found["host"])
        if len(lie) > 1:
            words = "; ".join(f"{one.rpartition('/')[2]}: {', '.join(sorted(lie[one]))}" for one in sorted(lie))
            self.refuse(
                f"the hosts lie in several virtual networks ({words}), and application security groups are of one: "
                "give the filter a variable that only the hosts of one of them have"
            )
        if not set(lie) & {network["id"].lower() for network in networks}:
            self.refuse(f"the virtual network {next(iter(lie))} is not in this subscription")
        for network in networks:
            if network["id"].lower() in lie:
                self.location = network["location"]
                state.space = network["properties"]["addressSpace"]["addressPrefixes"]
                for subnet in network["properties"].get("subnets") or []:
                    nsg = subnet["properties"].get("networkSecurityGroup")
                    state.subnets[subnet["id"].lower()] = nsg["id"].lower() if nsg else None
        ours = {group["id"].lower(): segment for segment, group in state.groups.items()}
        state.used = set(self.stuck)
        # what only hosts of ours use, this run takes away
        for nic in nics:
            if nic["id"].lower() not in state.nics:
                state.used |= {ours[group] for group in nic_groups(nic) if group in ours}
        for nsg in nsgs:
            if nsg["id"].lower() != self.nsg_id.lower():
                for rule in nsg["properties"].get("securityRules") or []:
                    dummy, dummy, dummy, source, destination, dummy, dummy = meaning(rule["properties"])
                    state.used |= {ours[group] for group in source[1] | destination[1] if group in ours}
        return state

    def read_nics(self, state, nics):
        by_machine, by_name = {}, {}
        for nic in nics:
            machine = ((nic["properties"].get("virtualMachine") or {}).get("id") or "").lower()
            for key in (nic["id"].lower(), machine):
                by_machine.setdefault(key, []).append(nic)
            if machine:
                by_name.setdefault(machine.rpartition("/")[2], set()).add(machine)
        missing = []
        for host, known in sorted(self.policy["hosts"].items()):
            key = known["instance"].lower()
            if not key.startswith("/subscriptions/"):
                machines = by_name.get(key, set())
                if len(machines) > 1:
                    self.refuse(f"several virtual machines are called {known['instance']}: name {host} by its id")
                key = next(iter(machines), key)
            if key not in by_machine:
                missing.append(f"{host} ({known['instance']})")
            for nic in by_machine.get(key, []):
                settings = [one["properties"] for one in nic["properties"]["ipConfigurations"]]
                state.nics[nic["id"].lower()] = {
                    "host": host,
                    "body": nic,
                    "groups": nic_groups(nic),
                    "nsg": (nic["properties"].get("networkSecurityGroup") or {}).get("id", "").lower(),
                    "subnet": settings[0]["subnet"]["id"],
                    "addresses": [one["privateIPAddress"] for one in settings if one.get("privateIPAddress")],
                }
        if missing:
            self.refuse(f"there is no virtual machine or interface for {', '.join(missing)} in this subscription")

    # --- what stands against it

    def check(self, state, plan):
        trouble = []
        for host, found in self.policy["hosts"].items():
            addresses = {one for nic in state.nics.values() if nic["host"] == host for one in nic["addresses"]}
            if found["address"] and found["address"] not in addresses:
                trouble.append(
                    f"Ansible reaches {host} at {found['address']} through a jump server of this virtual network, and "
                    f"rules between groups let in to private addresses only: set its ansible_host to {min(addresses)}"
                )
        for segment in self.policy["segments"]:
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?", self.name(segment)):
                trouble.append(
                    f"Azure takes no group called {self.name(segment)!r}: rename the group or host of the inventory, "
                    "or give a shorter prefix"
                )
        if len(plan.rules) > RULES:
            trouble.append(
                f"the flows need {len(plan.rules)} rules, and a network security group takes {RULES}: let them name "
                "fewer networks"
            )
        for nic, found in sorted(state.nics.items()):
            others = set(found["groups"]) - {group["id"].lower() for group in state.groups.values()}
            most = len(others) + len(plan.groups[nic] | set(plan.leave[nic]))
            if most > GROUPS:
                trouble.append(
                    f"{found['body']['name']} of {found['host']} needs {most} application security groups, and Azure "
                    f"takes {GROUPS}: let fewer groups of the inventory be ends of flows"
                )
        if trouble:
            self.refuse("; ".join(trouble))

    # --- what is told

    def rule_line(self, properties):
        direction, access, proto, source, destination, dummy, ports = meaning(properties)

        def end(found):
            prefixes, groups = found
            return ", ".join(sorted([*prefixes, *(one.rpartition("/")[2] for one in groups)]))

        ranges = ", ".join(sorted(ports)).replace("*", "all ports")
        return f"{self.prefix}: {direction} {access} {proto} {ranges} from {end(source)} to {end(destination)}"

    def report(self, state, plan):
        """The result without what only the run itself can tell."""

        def nics(changes):
            return [
                f"{state.nics[nic]['host']} {state.nics[nic]['body']['name']}: {self.name(segment)}"
                for nic, found in changes.items()
                for segment in found
            ]

        def attached(which):
            return [
                f"{state.nics[nic]['host']} {state.nics[nic]['body']['name']}: network security group "
                + (nsg.rpartition("/")[2] or "none")
                for nic, nsg in which.items()
            ]

        old = {nic: found["nsg"] for nic, found in state.nics.items()}
        foreign = attached({nic: nsg for nic, nsg in old.items() if plan.attach[nic] and nsg})
        lacking = attached({nic: self.nsg_id for nic in old if plan.attach[nic]})
        undeclared = [self.rule_line(one) for one in plan.undeclared.values()] + nics(plan.leave) + foreign
        missing = [self.rule_line(one) for one in plan.missing.values()] if state.nsg else []
        result = {
            "drift": {
                "undeclared": sorted(undeclared),
                "missing": sorted([*missing, *nics(plan.join), *lacking]),
            },
            "left": sorted(self.name(segment) for segment in plan.left),
            "outside": sorted(self.policy["outside"]),
            "paths": segmentation.paths(self.count(state, None), self.count(state, plan)),
            "waived": self.waived,
            "segments": {
                name: {"group": self.name(name), "hosts": hosts} for name, hosts in self.policy["segments"].items()
            },
        }
        if self.module._diff:
            ours = {group["id"].lower(): segment for segment, group in state.groups.items()}
            member = {
                nic: [ours[group] for group in found["groups"] if group in ours] for nic, found in state.nics.items()
            }
            there = [rule["properties"] for rule in rules_of(state.nsg)]
            sides = {
                "before": (there, member, old),
                "after": (plan.rules.values(), plan.groups, dict.fromkeys(old, self.nsg_id)),
            }
            result["diff"] = {
                side: "".join(
                    f"{line}\n"
                    for line in sorted(f"{self.rule_line(one)}, priority {one['priority']}" for one in rules)
                    + sorted(nics(groups) + attached(which))
                )
                for side, (rules, groups, which) in sides.items()
            }
        return result

    def count(self, state, plan):
        """The open paths, as things are or, with a plan, as they will be."""
        filters = {key: Filter(nsg) for key, nsg in state.filters.items()}
        relevant = {found["nsg"] for found in state.nics.values()} | set(state.subnets.values()) | {self.nsg_id.lower()}
        prefixes, single = set(), set()
        declared = [{"properties": one} for one in Plan(self.policy, state, self).rules.values()]
        for rule in declared + [one for key in relevant for one in rules_of(state.filters.get(key))]:
            dummy, dummy, proto, source, destination, dummy, ranges = meaning(rule["properties"])
            prefixes |= source[0] | destination[0]
            single |= {(proto, int(port)) for port in ranges if port.isdigit() and proto in ("tcp", "udp")}
        ports = segmentation.counted_ports(self.policy, single)
        if plan:
            default = (state.nsg or {}).get("properties", {}).get("defaultSecurityRules") or DEFAULTS
            filters[self.nsg_id.lower()] = Filter(
                {"properties": {"securityRules": declared, "defaultSecurityRules": default}}
            )
        hosts = {
            host: [one for nic in state.nics.values() if nic["host"] == host for one in nic["addresses"]]
            for host in self.policy["hosts"]
        }
        # words such as AzureCloud are sources by themselves; those that stand for what is counted anyway are not
        names = prefixes - {"*", "internet", "virtualnetwork", "azureloadbalancer"}
        around = segmentation.sources(hosts, self.policy["outside"], names)
        space = [ipaddress.ip_network(one) for one in state.space]
        ends = {}
        for name, nets in around.items():
            places = hosts.get(name) or self.policy["outside"].get(name) or [name]
            words = {word for one in places for word in where(one, space)}
            doors, groups = set(), set()
            for nic in (nic for nic, found in state.nics.items() if found["host"] == name):
                own, nsg = set(state.nics[nic]["groups"]), state.nics[nic]["nsg"]
                if plan:
                    own -= {group["id"].lower() for group in state.groups.values()}
                    own |= {self.group_id(segment).lower() for segment in plan.groups[nic]}
                    nsg = self.nsg_id.lower()
                groups |= own
                doors.add((state.subnets.get(state.nics[nic]["subnet"].lower()), nsg))
            ends[name] = (frozenset(groups), nets | words, frozenset(doors))

        def passes(direction, door, source, destination, proto, port):
            walls = [filters[one] for one in door if one in filters]
            if not walls:  # within the virtual network nothing is denied; a public address lets nobody in
                return "virtualnetwork" in source[1] and "virtualnetwork" in destination[1] or direction == "Outbound"
            return all(wall.passes(direction, source, destination, proto, port) for wall in walls)

        def opened(source, destination):
            for proto, port in ports:
                into = any(passes("Inbound", door, source, destination, proto, port) for door in destination[2])
                out = not source[2] or any(
                    passes("Outbound", door, source, destination, proto, port) for door in source[2]
                )
                if into and out:
                    yield proto, port, port

        return segmentation.count_paths(ends, {host: ends[host] for host in hosts}, ports, opened)

    # --- what is done

    def write(self, what, method, *args, etag=None):
        """Change something; false where somebody else was first, or is at it, so that one has to look again."""
        *args, body = args
        headers = {"If-Match": etag} if etag else {"If-None-Match": "*"}
        try:
            with self.azure.telling(f"{what} failed", done=self.done, changed=bool(self.done)):
                try:
                    if body is None:
                        method(*args, headers=headers).result()
                    else:
                        method(*args, io.BytesIO(json.dumps(body).encode()), headers=headers).result()
                except HttpResponseError as exc:
                    if body is None and exc.status_code == 400 and "InUse" in explain(exc):
                        self.stuck.add(args[-1][len(self.prefix) + 1 :])
                        return True
                    if exc.status_code not in (409, 412):
                        raise
                    raise Again(explain(exc)) from exc
        except Again as exc:
            self.why = str(exc)
            return False
        self.done.append(what)
        return True

    def apply(self):
        """Bring about what is declared; what is there is looked at anew before anything is taken away."""
        for number in range(PASSES):
            state = self.read()
            plan = Plan(self.policy, state, self)
            if not plan.changes:
                return
            if not self.step(state, plan):
                time.sleep(min(number, 5))
        self.module.fail_json(
            msg=f"The network changed as often as it was written: look who else writes it. Azure said last: {self.why}",
            done=self.done, changed=bool(self.done),
        )  # fmt: skip

    def step(self, state, plan):
        """Do what can be done next; false where it has to be tried again."""
        if plan.create:
            groups = self.network.application_security_groups
            return all(
                self.write(
                    f"Making {self.name(segment)}", groups.begin_create_or_update,
                    self.place, self.name(segment), {"location": self.location, "tags": {TAG: segment}},
                )
                for segment in plan.create
            )  # fmt: skip
        if any(plan.join.values()):
            return all(self.write_nic(state, plan, nic, False) for nic, found in plan.join.items() if found)
        if plan.nsg:
            body = copy.deepcopy(state.nsg or {"location": self.location, "tags": {TAG: ""}, "properties": {}})
            rules = [{"name": name, "properties": one} for name, one in sorted(plan.rules.items())]
            body["properties"]["securityRules"] = rules
            return self.write(
                f"Writing the {len(rules)} rules of {self.prefix}",
                self.network.network_security_groups.begin_create_or_update,
                self.place, self.prefix, body, etag=(state.nsg or {}).get("etag"),
            )  # fmt: skip
        late = [nic for nic in state.nics if plan.attach[nic] or plan.leave[nic]]
        if late:
            return all(self.write_nic(state, plan, nic, True) for nic in late)
        return all(
            self.write(
                f"Deleting {self.name(segment)}", self.network.application_security_groups.begin_delete,
                self.place, self.name(segment), None, etag=state.groups[segment]["etag"],
            )
            for segment in plan.delete
        )  # fmt: skip

    def write_nic(self, state, plan, nic, final):
        """Let an interface join its groups; in the end give it the network security group, and let it leave others."""
        body = copy.deepcopy(state.nics[nic]["body"])
        drop = {state.groups[segment]["id"].lower() for segment in plan.leave[nic]} if final else set()
        groups = [name for group, name in state.nics[nic]["groups"].items() if group not in drop]
        groups += [self.group_id(segment) for segment in plan.join[nic]]
        for settings in body["properties"]["ipConfigurations"]:
            settings["properties"]["applicationSecurityGroups"] = [{"id": group} for group in groups]
        if final:
            body["properties"]["networkSecurityGroup"] = {"id": self.nsg_id}
        what = "Giving its security group to" if final else "Adding to its groups"
        place = re.search("/resourcegroups/([^/]+)/", body["id"], re.IGNORECASE)[1]
        return self.write(
            f"{what} {body['name']} of {state.nics[nic]['host']}",
            self.network.network_interfaces.begin_create_or_update,
            place, body["name"], body, etag=body["etag"],
        )  # fmt: skip

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
        plan = Plan(self.policy, state, self)
        self.check(state, plan)
        result = self.report(state, plan)
        changed = plan.changes
        if changed and not self.module.check_mode:
            self.apply()
            changed = bool(self.done)
            result["left"] = sorted({*result["left"], *map(self.name, self.stuck)})
        self.module.exit_json(changed=changed, **result)


class Again(Exception):
    """Somebody else wrote first, or is writing."""


# What Azure adds to a new network security group
DEFAULTS = [
    {
        "properties": {
            "direction": direction, "access": access, "priority": priority, "protocol": "*", "sourcePortRange": "*",
            "destinationPortRange": "*", "sourceAddressPrefix": source, "destinationAddressPrefix": destination,
        }
    }
    for direction, priority, access, source, destination in (
        ("Inbound", 65000, "Allow", "VirtualNetwork", "VirtualNetwork"),
        ("Inbound", 65001, "Allow", "AzureLoadBalancer", "*"),
        ("Inbound", 65500, "Deny", "*", "*"),
        ("Outbound", 65000, "Allow", "VirtualNetwork", "VirtualNetwork"),
        ("Outbound", 65001, "Allow", "*", "Internet"),
        ("Outbound", 65500, "Deny", "*", "*"),
    )
]  # fmt: skip


def where(name, space):
    """The word of Azure for where a source is: VirtualNetwork (whose addresses are *space*), Internet, or neither."""
    try:
        own = ipaddress.ip_network(name)
    except ValueError:
        return {"internet"} if name == "the internet" else set()
    if any(own.version == net.version and own.subnet_of(net) for net in space):
        return {"virtualnetwork"}
    return set() if own.is_private else {"internet"}


def nic_groups(nic):
    """The application security groups of an interface: their ids in small letters, and as they are written."""
    return {
        group["id"].lower(): group["id"]
        for settings in nic["properties"]["ipConfigurations"]
        for group in settings["properties"].get("applicationSecurityGroups") or []
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **AZURE_ARGS,
            "policy": {"type": "dict", "required": True},
            "allow_world": segmentation.WAIVERS,
            "resource_group": {"type": "str", "required": True},
            "prefix": {"type": "str", "default": "rampart"},
        },
        supports_check_mode=True,
    )
    Segmentation(module).run()


if __name__ == "__main__":
    main()
