# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for segmentation share: what the world may not reach, and how open paths are counted. Pure."""

from __future__ import annotations

import ipaddress

# What is attacked wherever the world reaches it: ways to log in, and databases
GUARDED = {
    22: "SSH",
    1433: "SQL Server",
    1434: "SQL Server",
    1521: "Oracle",
    3306: "MySQL",
    3389: "RDP",
    5432: "PostgreSQL",
    5984: "CouchDB",
    6379: "Redis",
    9042: "Cassandra",
    9200: "Elasticsearch",
    9300: "Elasticsearch",
    11211: "memcached",
    27017: "MongoDB",
    27018: "MongoDB",
    27019: "MongoDB",
    50000: "Db2",
}
WAIVERS = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "segment": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "reason": {"type": "str", "required": True},
    },
}
LOCAL = ipaddress.ip_network("fc00::/7")
KEYS = ("segments", "hosts", "outside", "egress", "rules")


def world(network):
    """Whether a network is the internet, or so much of it that two or three of the kind are."""
    net = ipaddress.ip_network(str(network), strict=False)
    return net.prefixlen < (8 if net.version == 4 else 16) and (net.version == 4 or not net.subnet_of(LOCAL))


def policy_trouble(policy):
    """Why this is no policy that the filter cloud_segments gives; None where it is."""
    if not isinstance(policy, dict) or set(policy) != set(KEYS) or not policy["segments"]:
        return "policy is what the filter rampart.hardening.cloud_segments makes of hardening_flows"
    return None


def exposed(rules):
    """What lets the world in where it may not: (segment, port, network) of *rules*.

    A rule is (segment, proto, first, last, network); proto is tcp, udp or - for all of them.
    """
    return sorted(
        {
            (segment, port, network)
            for segment, proto, first, last, network in rules
            if proto in ("tcp", "udp", "-") and world(network)
            for port in GUARDED
            if proto == "-" or first <= port <= last
        }
    )


def exposures(policy):
    """`exposed` of the declared rules."""
    return exposed(
        (rule["segment"], rule["proto"], first, last, rule["peer"])
        for rule in policy["rules"]
        if rule["direction"] == "ingress" and rule["kind"] == "network"
        for first, last in rule["ports"]
    )


def judge(found, waivers):
    """The sentences that refuse what the world could reach, and the waivers in force."""
    allowed = {(one["segment"], one["port"]): one for one in waivers}
    refused = [
        f"{segment} would let {network} in on port {port} ({GUARDED[port]})"
        for segment, port, network in found
        if (segment, port) not in allowed
    ]
    used = sorted({(segment, port) for segment, port, dummy in found} & set(allowed))
    empty = [f"allow_world for {one['segment']}, port {one['port']}, has no reason" for one in waivers
             if not one["reason"].strip()]  # fmt: skip
    return refused + empty, [dict(allowed[key]) for key in used]


# --- counting


def counted_ports(policy, single):
    """The (protocol, port) that are counted: guarded, declared, or named alone by a rule that is there (*single*)."""
    declared = {
        (rule["proto"], port)
        for rule in policy["rules"]
        for first, last in rule["ports"]
        for port in range(first, last + 1)
    }
    return {("tcp", port) for port in GUARDED} | declared | set(single)


def sources(hosts, outside, networks):
    """Who a path may begin at: {name: the networks out of *networks* that it is in}.

    Those are the hosts, here and elsewhere (name: addresses), the internet, and every network that a rule names and
    that is no such host. What is no network (a list that the cloud keeps) is a source by itself.
    """
    parsed = {}
    for name in networks:
        try:
            parsed[name] = ipaddress.ip_network(name, strict=False)
        except ValueError:
            parsed[name] = None

    def around(address):
        net = ipaddress.ip_network(address, strict=False)
        return {name for name, other in parsed.items()
                if other is not None and net.version == other.version and net.subnet_of(other)}  # fmt: skip

    found = {name: frozenset().union(*map(around, addresses)) for name, addresses in {**hosts, **outside}.items()}
    known = {address.partition("/")[0] for addresses in {**hosts, **outside}.values() for address in addresses}
    found["the internet"] = frozenset(name for name, net in parsed.items() if net is not None and world(net))
    for name, net in parsed.items():
        if net is None:
            found[name] = frozenset([name])
        elif not world(net) and not (net.num_addresses == 1 and str(net.network_address) in known):
            found[name] = frozenset(around(name))
    return found


def count_paths(starts, destinations, ports, opened):
    """How many (source, destination, port) are open.

    *starts* and *destinations* map names to what `opened` knows them by; that gives the open (proto, first, last), with
    - for all protocols. A host is no source for itself.
    """
    known, total = {}, 0
    for source, one in starts.items():
        for destination, other in destinations.items():
            if source == destination:
                continue
            if (one, other) not in known:
                ranges = set(opened(one, other))
                known[one, other] = sum(
                    any(proto in (ours, "-") and first <= port <= last for proto, first, last in ranges)
                    for ours, port in ports
                )
            total += known[one, other]
    return total


def both(ranges, others):
    """What is open at both ends."""
    return {
        (proto if other == "-" else other, max(first, begin), min(last, end))
        for proto, first, last in ranges
        for other, begin, end in others
        if (proto == other or "-" in (proto, other)) and first <= end and begin <= last
    }


def paths(before, after):
    """The result: the counts, and by how many percent there are fewer."""
    return {"before": before, "after": after, "reduction": round(100 * (before - after) / before, 1) if before else 0.0}


def show_ports(proto, first, last):
    """A protocol and its ports as people write them."""
    if proto not in ("tcp", "udp"):
        return "all traffic" if proto == "-" else proto
    return f"{proto} {first}" if first == last else f"{proto} {first}-{last}"
