# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the declared flows mean for one host: pure policy, which knows nothing of the firewall that enforces it.

`parse` checks the flows and names their ends (groups, hosts, networks), which is what a cloud's security groups need.
`compile_flows` goes on to addresses: the rules of one host. Everything comes from the inventory, nothing from facts,
so that the outcome is the same whichever hosts a play is limited to.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import ipaddress
import itertools
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence

KEYS = ("from", "to", "port", "proto")
PROTOCOLS = ("tcp", "udp", "icmp")
ANY = ("0.0.0.0/0", "::/0")
KEYWORDS = ("any", "controllers")


class FlowError(ValueError):
    """The flows are wrong, and the message says which and where."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One end of a flow. *kind* is any, controllers, name (a group, a host, or both) or network."""

    kind: str
    name: str


@dataclasses.dataclass(frozen=True)
class Flow:
    """One declared flow, checked. *ports* are sorted inclusive ranges that do not touch; none for icmp."""

    where: str
    label: str
    sources: tuple[Endpoint, ...]
    destinations: tuple[Endpoint, ...]
    proto: str
    ports: tuple[tuple[int, int], ...]


@functools.lru_cache(maxsize=1024)
def resolve(name: str) -> tuple[str, ...]:
    """The addresses that the controller's resolver gives for a name; none where it knows none."""
    try:
        return tuple(sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}))
    except (OSError, UnicodeError):
        return ()


def network(text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An address or a network; ValueError where it is neither. IPv4 inside IPv6 is IPv4, zones are dropped."""
    plain = re.sub(r"%[^/]*", "", str(text))
    if "/" not in plain and (mapped := getattr(ipaddress.ip_address(plain), "ipv4_mapped", None)):
        plain = str(mapped)
    return ipaddress.ip_network(plain)


def _show(net: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)


def _within(net: ipaddress.IPv4Network | ipaddress.IPv6Network, wider: object) -> bool:
    return net.version == wider.version and net.subnet_of(wider)


def _listed(value: object) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


class Inventory:
    """The hosts that flows speak of.

    *groups* maps each group to its hosts (Ansible's `groups`), *addresses* gives a host's addresses when asked, as
    asking is what costs time, *controllers* are the networks the controller comes from.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]],
        addresses: Callable[[str], Iterable[object]],
        controllers: Iterable[object] = (),
        resolver: Callable[[str], Iterable[str]] = resolve,
    ):
        self.groups = {str(group): [str(host) for host in hosts] for group, hosts in groups.items()}
        self.hosts = set(itertools.chain.from_iterable(self.groups.values()))
        self._declared, self._resolver, self._known = addresses, resolver, {}
        self.controllers = []
        for number, entry in enumerate(_listed(controllers or []), 1):
            try:
                self.controllers.append(network(entry))
            except ValueError as error:
                raise FlowError(f"hardening_controllers, entry {number}: {error}") from None

    def members(self, name: str) -> set[str]:
        return {*self.groups.get(name, ()), *({name} & self.hosts)}

    def addresses(self, host: str) -> list:
        """The host's networks. Loopback (a forwarded port) is not where its packets come from."""
        if host not in self._known:
            found = itertools.chain.from_iterable(self._located(host, str(entry)) for entry in self._declared(host))
            self._known[host] = [net for net in found if not net.is_loopback]
        return self._known[host]

    def _located(self, host: str, entry: str) -> list:
        try:
            return [network(entry)]
        except ValueError as error:
            reason = str(error)
            if re.fullmatch(r"[A-Za-z0-9_.-]*[A-Za-z_-][A-Za-z0-9_.-]*", entry):
                if found := self._resolver(entry):
                    return [network(address) for address in found]
                reason = f"{entry!r} does not resolve on the controller"
            raise FlowError(f"host {host}: {reason}; set its hardening_addresses") from None

    def endpoint(self, value: object, where: str) -> Endpoint:
        text = str(value)
        if not isinstance(value, str) or not text.strip():
            raise FlowError(f"{where}: a group, host or network is expected, not {value!r}")
        if text in KEYWORDS:
            if self.members(text):
                raise FlowError(f"{where}: {text!r} is a word of its own here; rename the group or host of that name")
            if text == "controllers" and not self.controllers:
                raise FlowError(f"{where}: hardening_controllers is empty")
            return Endpoint(text, text)
        if text in self.groups or text in self.hosts:
            if not self.members(text):
                raise FlowError(f"{where}: group {text!r} has no hosts")
            return Endpoint("name", text)
        try:
            return Endpoint("network", _show(network(text)))
        except ValueError as error:
            if "/" in text or ":" in text or re.fullmatch(r"[\d.]+", text):
                raise FlowError(f"{where}: {error}") from None
        close = difflib.get_close_matches(text, [*self.groups, *self.hosts, *KEYWORDS], 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise FlowError(f"{where}: no group, host or network is called {text!r}{hint}")

    def networks(self, endpoints: Iterable[Endpoint], where: str) -> tuple[str, ...]:
        """The addresses of these ends, sorted, without those that another one covers."""
        found = set()
        for end in endpoints:
            if end.kind == "any":
                return ANY
            if end.kind == "controllers":
                found.update(self.controllers)
            elif end.kind == "network":
                found.add(network(end.name))
            else:
                try:
                    known = {net for host in self.members(end.name) for net in self.addresses(host)}
                except FlowError as error:
                    raise FlowError(f"{where}: {end.name!r}: {error}") from None
                if not known:
                    raise FlowError(f"{where}: {end.name!r} has no address; set hardening_addresses of its hosts")
                found |= known
        wide = [net for net in found if net.prefixlen < net.max_prefixlen]
        kept = [net for net in found if not any(_within(net, wider) for wider in wide if wider != net)]
        return tuple(_show(net) for net in sorted(kept, key=lambda net: (net.version, net)))

    def covers(self, endpoints: Iterable[Endpoint], host: str) -> bool:
        """Whether the host is one of these ends."""
        for end in endpoints:
            if end.kind == "any" or (end.kind == "name" and host in self.members(end.name)):
                return True
            if end.kind in ("network", "controllers"):
                nets = [network(end.name)] if end.kind == "network" else self.controllers
                if any(_within(own, net) for net in nets for own in self.addresses(host)):
                    return True
        return False


def _port(value: object, where: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value)) if not isinstance(value, (bool, float)) else None
    if not match:
        raise FlowError(f"{where}: a port is a number or a range such as 8000-8100, not {value!r}")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= 65535 or not 1 <= last <= 65535:
        raise FlowError(f"{where}: ports go from 1 to 65535, not {value!r}")
    if first > last:
        raise FlowError(f"{where}: range {value!r} is reversed; write {last}-{first}")
    return first, last


def merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def show_ports(ports: Iterable[Sequence[int]]) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ports)


def parse(flows: object, inventory: Inventory, name: str = "hardening_flows", egress: bool = False) -> list[Flow]:
    """The declared flows, each checked. Only *egress* flows may lead out of the inventory."""
    if not isinstance(flows, (list, tuple)):
        raise FlowError(f"{name} is a list of flows, not {flows!r}")
    parsed = []
    for number, flow in enumerate(flows, 1):
        where = f"{name}, entry {number}"
        if not isinstance(flow, Mapping):
            raise FlowError(f"{where}: a flow is a mapping with from, to and port, not {flow!r}")
        for key in flow:
            if key not in KEYS:
                close = difflib.get_close_matches(str(key), KEYS, 1)
                raise FlowError(f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        ends = {}
        for key in ("from", "to"):
            entries = _listed(flow.get(key))
            if flow.get(key) is None or not entries:
                raise FlowError(f"{where}: {key!r} is missing")
            ends[key] = tuple(inventory.endpoint(entry, f"{where} ({key})") for entry in entries)
        if not egress:
            for entry, end in zip(_listed(flow["to"]), ends["to"], strict=True):
                if end.kind != "name":
                    raise FlowError(f"{where} (to): {entry!r} is no group or host; all hosts together are 'all'")
        proto = flow.get("proto", "tcp")
        if proto not in PROTOCOLS:
            raise FlowError(f"{where}: proto is one of {', '.join(PROTOCOLS)}, not {proto!r}")
        given = _listed(flow["port"]) if flow.get("port") is not None else []
        if proto == "icmp" and given:
            raise FlowError(f"{where}: icmp has no ports")
        if proto != "icmp" and not given:
            raise FlowError(f"{where}: 'port' is missing")
        label = f"{'+'.join(map(str, _listed(flow['from'])))} to {'+'.join(map(str, _listed(flow['to'])))}"
        ports = merge(_port(port, where) for port in given)
        parsed.append(Flow(where, label, ends["from"], ends["to"], str(proto), ports))
    return parsed


def _rules(entries: Iterable[tuple[Flow, tuple[str, ...]]]) -> list[dict]:
    """Plain rules out of (flow, peers): one for each protocol and set of peers, in an order that is always the same."""
    ports: dict[tuple, list] = {}
    labels: dict[tuple, list[str]] = {}
    for flow, peers in entries:
        ports.setdefault((flow.proto, peers), []).extend(flow.ports)
        known = labels.setdefault((flow.proto, peers), [])
        if flow.label not in known:
            known.append(flow.label)
    rules = [
        {"proto": proto, "ports": [list(r) for r in merge(found)], "peers": list(peers), "flows": labels[proto, peers]}
        for (proto, peers), found in ports.items()
    ]
    return sorted(rules, key=lambda rule: (PROTOCOLS.index(rule["proto"]), rule["ports"], rule["peers"]))


def compile_flows(
    flows: object, host: str, inventory: Inventory, egress: object = None, name: str = "hardening_flows"
) -> dict[str, list[dict] | None]:
    """The rules of one host: what may come in (*ingress*) and, where an egress policy is declared, what may go out.

    A rule is {proto, ports: [[first, last]...], peers: [address or network...], flows: [label...]}. A flow that is
    declared between two hosts may leave the one as it may enter the other.
    """
    parsed = parse(flows, inventory, name)
    coming = [
        (flow, inventory.networks(flow.sources, f"{flow.where} (from)"))
        for flow in parsed
        if inventory.covers(flow.destinations, host)
    ]
    if egress is None:
        return {"ingress": _rules(coming), "egress": None}
    going = [
        (flow, inventory.networks(flow.destinations, f"{flow.where} (to)"))
        for flow in [*parsed, *parse(egress, inventory, "hardening_egress", egress=True)]
        if inventory.covers(flow.sources, host)
    ]
    return {"ingress": _rules(coming), "egress": _rules(going)}


def inventory(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping], controllers: Iterable[object] = ()
) -> Inventory:
    """The hosts of Ansible's own `groups` and `hostvars`."""

    def addresses(name: str) -> list:
        variables = hostvars[name]
        return _listed(variables.get("hardening_addresses") or variables.get("ansible_host") or name)

    return Inventory(groups, addresses, controllers)


def from_hostvars(
    flows: object,
    host: str,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping],
    controllers: Iterable[object] = (),
    egress: object = None,
) -> dict[str, list[dict] | None]:
    """`compile_flows` on Ansible's own `groups` and `hostvars`."""
    return compile_flows(flows, host, inventory(groups, hostvars, controllers), egress)


def permits(rules: Iterable[Mapping], address: str, proto: str = "tcp", port: int | None = None) -> bool:
    """Whether these rules (ingress or egress of one host) let this peer through."""
    peer = network(address)
    return any(
        rule["proto"] == proto
        and (proto == "icmp" or any(first <= int(port or 0) <= last for first, last in rule["ports"]))
        and any(_within(peer, network(net)) for net in rule["peers"])
        for rule in rules
    )


def unpermitted(rules: Iterable[Mapping], sockets: Iterable[Mapping]) -> list[str]:
    """Of these listening sockets ({proto, address, port, process}), those that no rule lets anybody reach."""
    closed = set()
    for entry in sockets:
        reached = any(
            rule["proto"] == entry["proto"] and any(first <= entry["port"] <= last for first, last in rule["ports"])
            for rule in rules
        )
        if not reached and not network(entry["address"]).is_loopback:
            closed.add((entry["port"], entry["proto"], entry.get("process") or "unknown"))
    return [f"{port}/{proto} {process}" for port, proto, process in sorted(closed)]
