# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the declared flows mean for a cloud: segments of hosts, and rules from segment to segment. Pure policy.

A segment is an end of a flow, a group or a host of the inventory, with its hosts that are in this cloud. A cloud has a
group of its own for each (security group, application security group), and rules speak of groups. Addresses are used
for what is not in this cloud only.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.rampart.hardening.plugins.plugin_utils import flows


class Cloud:
    """The inventory as one cloud sees it: *instances* are its hosts, each with what the cloud knows it by."""

    def __init__(self, inventory: flows.Inventory, hostvars: Mapping[str, Mapping], instance: str):
        self.inventory, self.hostvars = inventory, hostvars
        self.instances = {
            host: str(hostvars[host][instance]) for host in sorted(inventory.hosts) if hostvars[host].get(instance)
        }
        if not self.instances:
            raise flows.FlowError(f"no host of the inventory has the variable {instance}, which is to say its instance")
        by_instance: dict[str, str] = {}
        for host, found in self.instances.items():
            if (other := by_instance.setdefault(found, host)) != host:
                raise flows.FlowError(f"{other} and {host} are the same instance, {found}")
        self.segments: dict[str, list[str]] = {}

    def segment(self, name: str) -> list[str]:
        """The name of this segment, which is one from now on; nothing where it has no host in this cloud."""
        members = sorted(self.inventory.members(name) & set(self.instances))
        if members:
            self.segments[name] = members
        return [name] if members else []

    def peers(self, ends: Iterable[flows.Endpoint], where: str) -> list[tuple[str, str]]:
        """The other side of a rule: segments, and networks for what is outside."""
        found, outside = [], []
        for end in ends:
            if end.kind != "name":
                outside.append(end)
                continue
            found += self.segment(end.name)
            away = sorted(self.inventory.members(end.name) - set(self.instances))
            outside += [flows.Endpoint("name", host) for host in away]
        networks = self.inventory.networks(outside, where)
        if networks == flows.ANY:
            found = []
        return [("segment", name) for name in found] + [("network", network) for network in networks]

    def leaving(self, ends: Iterable[flows.Endpoint]) -> list[str]:
        """The segments that hold together exactly the hosts which are one of these ends."""
        named = [name for end in ends if end.kind == "name" for name in self.segment(end.name)]
        wide = [end for end in ends if end.kind != "name"]
        covered = {host for host in self.instances if wide and self.inventory.covers(wide, host)}
        left = covered - {host for name in named for host in self.segments[name]}
        # the largest segments first, so that one which lies within another is not needed
        for name, members in sorted(self.segments.items(), key=lambda item: (-len(item[1]), item[0])):
            if left & set(members) and covered.issuperset(members):
                named.append(name)
                left -= set(members)
        return [*named, *(name for host in sorted(left) for name in self.segment(host))]


def compile_segments(
    declared: object,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping],
    instance: str,
    controllers: Iterable[object] = (),
    egress: object = None,
    jump_groups: Iterable[str] = ("jump",),
) -> dict:
    """The segments and rules of the hosts that have the variable *instance*; FlowError where something is wrong.

    {segments: {name: [host...]}, hosts: {host: {instance, address}}, outside: {host: [network...]}, egress: bool,
    rules: [{segment, direction, proto, ports, kind, peer, flows}...]}. *outside* are the hosts elsewhere from which
    flows come. Where only other hosts of the cloud may reach a host, *address* is where Ansible looks for it.
    """
    inventory = flows.inventory(groups, hostvars, controllers)
    cloud = Cloud(inventory, hostvars, instance)
    parsed = flows.parse(declared, inventory)
    jumps = {name for group in jump_groups for name in inventory.members(group)}
    if lost := unreached(parsed, cloud, jumps):
        raise flows.FlowError(
            f"no flow lets Ansible get to {', '.join(lost)}, from the controllers or through a jump server that lets "
            "them in: it would be locked out. Add to hardening_flows: {from: controllers, to: jump, port: 22}, "
            "{from: jump, to: all, port: 22}"
        )
    found: dict[tuple, dict] = {}

    def add(direction: str, segments: Iterable[str], flow: flows.Flow, peers: list[tuple[str, str]]) -> None:
        for segment, (kind, peer) in itertools.product(segments, peers):
            rule = found.setdefault((segment, direction, flow.proto, kind, peer), {"ports": [], "flows": []})
            rule["ports"] += flow.ports
            rule["flows"] += [flow.label] if flow.label not in rule["flows"] else []

    for flow in parsed:
        if targets := [name for end in flow.destinations for name in cloud.segment(end.name)]:
            add("ingress", targets, flow, cloud.peers(flow.sources, f"{flow.where} (from)"))
    for host in cloud.instances:
        if not any(host in members for members in cloud.segments.values()):
            cloud.segment(host)
    if egress is not None:
        outwards = [*parsed, *flows.parse(egress, inventory, "hardening_egress", egress=True)]
        for end in (end for flow in outwards for end in flow.sources if end.kind == "name"):
            cloud.segment(end.name)
        for flow in outwards:
            if leaving := cloud.leaving(flow.sources):
                add("egress", leaving, flow, cloud.peers(flow.destinations, f"{flow.where} (to)"))
    keys = ("segment", "direction", "proto", "kind", "peer")
    sources = [end for flow in parsed for end in flow.sources if end.kind == "name"]
    return {
        "segments": dict(sorted(cloud.segments.items())),
        "hosts": {
            host: {"instance": name, "address": expected(host, parsed, cloud)} for host, name in cloud.instances.items()
        },
        "outside": {
            host: [str(net) for net in sorted(inventory.addresses(host), key=str)]
            for host in sorted(inventory.hosts - set(cloud.instances))
            if inventory.covers(sources, host)
        },
        "egress": egress is not None,
        "rules": [
            {**dict(zip(keys, key, strict=True)), **rule, "ports": [list(one) for one in flows.merge(rule["ports"])]}
            for key, rule in sorted(found.items())
        ],
    }


def doors(host: str, parsed: Iterable[flows.Flow], cloud: Cloud) -> list[flows.Endpoint] | None:
    """Who may reach the port at which Ansible connects; None for the machine that Ansible runs on itself."""
    variables = cloud.hostvars[host]
    connection = str(variables.get("ansible_connection") or "ssh").rpartition(".")[2]
    if connection == "local":
        return None
    port = int(variables.get("ansible_port") or (5986 if connection in ("winrm", "psrp") else 22))
    return [
        end
        for flow in parsed
        if flow.proto == "tcp"
        and any(first <= port <= last for first, last in flow.ports)
        and cloud.inventory.covers(flow.destinations, host)
        for end in flow.sources
    ]


def unreached(parsed: list[flows.Flow], cloud: Cloud, jumps: set[str]) -> list[str]:
    """The hosts of the cloud that neither the controllers may reach nor a jump server which they may reach."""
    inventory = cloud.inventory
    everywhere = [flows.Endpoint("controllers", "controllers")]

    def controls(host: str) -> bool:
        """Whether Ansible may run on this host of the inventory."""
        if host in cloud.instances or doors(host, (), cloud) is None:
            return doors(host, (), cloud) is None
        return host not in jumps and (not inventory.controllers or inventory.covers(everywhere, host))

    def admits(end: flows.Endpoint, others: set[str]) -> bool:
        if end.kind == "name":
            return bool(inventory.members(end.name) & others)
        if end.kind != "network" or not inventory.controllers:
            return True
        net = flows.network(end.name)
        return any(one.version == net.version and one.overlaps(net) for one in inventory.controllers)

    def reached(host: str, others: set[str]) -> bool:
        ends = doors(host, parsed, cloud)
        return ends is None or any(admits(end, others) for end in ends)

    controllers = {host for host in inventory.hosts if controls(host)}
    passed = {host for host in jumps if host not in cloud.instances or reached(host, controllers)}
    return [host for host in cloud.instances if not reached(host, controllers | (passed - {host}))]


def expected(host: str, parsed: Iterable[flows.Flow], cloud: Cloud) -> str:
    """Where Ansible looks for a host that only other hosts of the cloud may reach: it has to be an address in there."""
    ends = doors(host, parsed, cloud)
    if ends is None or any(end.kind != "name" for end in ends):
        return ""
    try:
        address = ipaddress.ip_address(str(cloud.hostvars[host].get("ansible_host") or ""))
    except ValueError:
        return ""
    outside = any(cloud.inventory.members(end.name) - set(cloud.instances) for end in ends)
    return "" if outside or address.is_loopback else str(address)
