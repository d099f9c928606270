# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall as the kernel has it: what its rules let in, against what the policy declares, and real attempts."""

from __future__ import annotations

import concurrent.futures
import ipaddress
import json
import re
import socket

import pytest

FAMILIES = {"ip": 4, "ip6": 6}
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "ipv6-icmp", 2: "igmp"}
ERRORS = {"destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"}
NEIGHBOURS = {"nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert"}
GROUPS = {"mld-listener-query", "mld-listener-report", "mld-listener-done", "mld-listener-reduction"}
GROUPS.add("mld2-listener-report")
FORWARDING = "ip_forward *= *1|forwarding *= *1|IP(v[46])?Forward(ing)? *= *(yes|true|1|ipv[46])"
RUNS_GUESTS = (
    *("/run/docker.sock", "/run/containerd/containerd.sock", "/usr/bin/podman", "/var/lib/kubelet"),
    *("/run/libvirt/libvirt-sock", "/sys/class/net/docker0", "/sys/class/net/lxcbr0", "/sys/class/net/incusbr0"),
)
ENGINES = "docker-proxy", "conmon"  # hold a published port open, while its packets are forwarded past them


# --- the ruleset, read into (conditions, verdict)


@pytest.fixture
def ruleset(host, not_applicable):
    if not host.exists("nft"):
        pytest.fail("nftables is not installed")
    listed = host.run("nft -j list ruleset")
    if listed.rc and "not permitted" in listed.stderr and host.run("systemd-detect-virt --container").rc == 0:
        not_applicable("a container that may not filter packets; its host does")
    assert listed.rc == 0, f"nft cannot list the rules: {listed.stderr}"
    return [next(iter(entry.items())) for entry in json.loads(listed.stdout)["nftables"]]


def base_chains(ruleset, hook):
    """The chains that decide at a hook, with the IP versions whose packets they drop when nothing else was said."""
    found = []
    for kind, item in ruleset:
        if (
            kind == "chain"
            and item.get("hook") == hook
            and item.get("type") == "filter"
            and item.get("policy") == "drop"
        ):
            versions = [FAMILIES[item["family"]]] if item["family"] in FAMILIES else [4, 6] * (item["family"] == "inet")
            found.append((item, set(versions)))
    return found


def dropped_versions(ruleset, hook):
    return set().union(*(versions for __, versions in base_chains(ruleset, hook)))


def elements(value):
    """The single values, ranges and prefixes of a match, whichever way they are grouped."""
    if isinstance(value, dict) and "set" in value:
        return [element for part in value["set"] for element in elements(part)]
    if isinstance(value, list):
        return [element for part in value for element in elements(part)]
    return [value]


def condition(match):
    left, kind = match["left"], None
    if "&" in left:
        left = left["&"][0]
    if "payload" in left and "field" in left["payload"]:
        kind = f"{left['payload']['protocol']} {left['payload']['field']}"
    elif "meta" in left:
        kind = f"meta {left['meta']['key']}"
    elif "ct" in left:
        kind = " ".join(filter(None, ["ct", left["ct"].get("dir"), left["ct"]["key"]]))
    elif "socket" in left:
        kind = f"socket {left['socket']['key']}"
    if kind is None or match["op"] not in ("==", "in"):
        return json.dumps(match), None
    values = elements(match["right"])
    return kind, [PROTOCOLS.get(value, value) for value in values] if kind in (
        "meta l4proto",
        "ip protocol",
    ) else values


def rules_of(ruleset, chain):
    where = chain["family"], chain["table"], chain["name"]
    return [
        item for kind, item in ruleset if kind == "rule" and (item["family"], item["table"], item["chain"]) == where
    ]


def verdicts(ruleset, chain, known=None):
    """Every way through a chain that ends in a verdict: [({condition: values}, verdict, the rule in words)]."""
    found = []
    for rule in rules_of(ruleset, chain):
        seen = dict(known or {})
        words = json.dumps(rule["expr"])
        for expression in rule["expr"]:
            kind, body = next(iter(expression.items()))
            if kind == "match":
                key, values = condition(body)
                if "dport" in key and "ct original proto-dst" in seen:
                    key = f"also {key}"
                seen[key] = values
            elif kind == "limit":
                seen["limit"] = [body]
            elif kind == "vmap":
                key, __ = condition({"left": body["key"], "op": "==", "right": []})
                for value, verdict in body["data"]["set"]:
                    found.append(({**seen, key: elements(value)}, next(iter(verdict)), words))
            elif kind in ("jump", "goto"):
                target = {**chain, "name": body["target"]}
                found += verdicts(ruleset, target, seen)
            elif kind in ("accept", "drop", "reject", "return", "queue"):
                found.append((seen, kind, words))
            elif kind not in ("counter", "log"):
                seen[words] = None
    return found


# --- what is accepted besides flows


def plumbing(seen):
    """Whether this is what every host needs to speak IP at all, and lets no stranger start anything."""
    keys = set(seen)
    types = set(seen.get("icmp type") or seen.get("icmpv6 type") or [])
    if keys in ({"meta iif"}, {"meta iifname"}, {"meta oif"}, {"meta oifname"}):
        return next(iter(seen.values())) == ["lo"]
    if keys == {"ct state"}:
        return set(seen["ct state"]) <= {"established", "related"}
    if keys <= {"tcp flags", "socket wildcard"} and seen.get("tcp flags") == ["ack"]:
        return True
    if keys in ({"icmp type"}, {"icmpv6 type"}):
        return types <= ERRORS | NEIGHBOURS | GROUPS
    if keys == {"icmpv6 type", "ip6 hoplimit"}:
        return types <= NEIGHBOURS and seen["ip6 hoplimit"] == [255]
    if keys == {"icmpv6 type", "ip6 saddr"}:
        return types <= GROUPS
    if keys in ({"icmp type", "limit"}, {"icmpv6 type", "limit"}):
        return types == {"echo-request"}
    if keys == {"ip protocol", "ip daddr"}:
        return seen["ip protocol"] == ["igmp"]
    if keys <= {"udp sport", "udp dport", "ip6 saddr"} and "udp sport" in keys:
        return (seen["udp sport"] + seen.get("udp dport", [])) in ([67, 68], [547, 546], [68, 67], [546, 547])
    return False


def own_containers(host, seen):
    """Interfaces behind which the host's own containers are, if the rule is about them; never the way to the world."""
    names = seen.get("meta iifname")
    if not names or set(seen) - {"meta iifname", "meta l4proto", "th dport"}:
        return None
    ways = set(re.findall(r"dev (\S+)", host.check_output("ip -4 route show default; ip -6 route show default")))
    patterns = [re.compile(re.escape(name).replace(r"\*", ".*") + "$") for name in names]
    return None if any(pattern.match(way) for pattern in patterns for way in ways) else names


# --- flows, as {(proto, first, last, network)}


def networks(text):
    try:
        return [ipaddress.ip_network(str(text), strict=False)]
    except ValueError:
        return [
            ipaddress.ip_network(found[4][0]) for found in socket.getaddrinfo(str(text), None, type=socket.SOCK_STREAM)
        ]


def members(policy, name):
    return [host for host, about in policy["all_hosts"].items() if name in ("all", host, *about["groups"])]


def end(policy, value):
    """The networks that one end of a declared flow stands for."""
    found = []
    for name in value if isinstance(value, list) else [value]:
        if name == "any":
            found += [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
        elif name == "controllers":
            found += [net for entry in policy.get("hardening_controllers", []) for net in networks(entry)]
        elif hosts := members(policy, name):
            found += [
                net for host in hosts for entry in policy["all_hosts"][host]["addresses"] for net in networks(entry)
            ]
        else:
            found += networks(name)
    return found


def is_end(policy, value):
    own = [net for entry in policy["all_hosts"][policy["name"]]["addresses"] for net in networks(entry)]
    for name in value if isinstance(value, list) else [value]:
        hosts = members(policy, name)
        if policy["name"] in hosts or any(mine.network_address in net for net in end(policy, name) for mine in own):
            return True
    return False


def declared(policy, flows, here, there):
    """The declared flows with this host at one end, as tuples with the networks of the other end."""
    found = set()
    for flow in flows:
        if not is_end(policy, flow[here]):
            continue
        ports = flow.get("port", 0)
        for port in ports if isinstance(ports, list) else [ports]:
            first, __, last = str(port).partition("-")
            found |= {
                (flow.get("proto", "tcp"), int(first), int(last or first), net) for net in end(policy, flow[there])
            }
    return found


def flow_tuples(seen, side):
    """The tuples that one accepting rule stands for; None where it is about something else as well."""
    protos = [key.split()[0] for key in seen if key in ("tcp dport", "udp dport")]
    ports = [port for key in ("tcp dport", "udp dport", "ct original proto-dst") for port in seen.get(key) or []]
    versions = [4, 6]
    if "ct original proto-dst" in seen:
        protos = [PROTOCOLS.get(value, value) for value in seen.get("meta l4proto") or []]
    elif set(seen.get("icmp type") or seen.get("icmpv6 type") or []) == {"echo-request"}:
        protos, ports = ["icmp"], [0]
        versions = [4] if "icmp type" in seen else [6]
    rest = set(seen) - {"tcp dport", "udp dport", "ct original proto-dst", "ct status", "meta l4proto", "icmp type"}
    rest -= {"icmpv6 type", f"ip {side}", f"ip6 {side}"}
    if rest or not protos or not ports or not set(protos) <= {"tcp", "udp", "icmp"}:
        return None
    nets = []
    for entry in [*(seen.get(f"ip {side}") or []), *(seen.get(f"ip6 {side}") or [])]:
        if isinstance(entry, dict) and "prefix" in entry:
            nets.append(ipaddress.ip_network(f"{entry['prefix']['addr']}/{entry['prefix']['len']}"))
        elif isinstance(entry, dict):
            nets += ipaddress.summarize_address_range(*map(ipaddress.ip_address, entry["range"]))
        else:
            nets.append(ipaddress.ip_network(entry))
    if not nets:
        nets = [ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0") for version in versions]
    ranges = [port["range"] if isinstance(port, dict) else [port, port] for port in ports]
    return {(proto, int(a), int(b), net) for proto in protos for a, b in ranges for net in nets}


def differences(wanted, seen):
    """Where two sets of tuples differ in meaning, however they are cut: asked at every address where either changes."""
    told = {}
    for version in (4, 6):
        nets = {net for *__, net in wanted | seen if net.version == version}
        limit = 2 ** (32 if version == 4 else 128)
        points = {int(net.network_address) for net in nets} | {int(net.broadcast_address) + 1 for net in nets} | {0}
        for point in sorted(points - {limit}):
            address = ipaddress.ip_address(point) if version == 4 else ipaddress.IPv6Address(point)
            for proto in ("tcp", "udp", "icmp"):
                declared, real = (show(covered(tuples, proto, address)) for tuples in (wanted, seen))
                if declared != real:
                    told.setdefault(f"{proto} {real} where {declared} is declared", []).append(str(address))
    return [f"{what} (peers {', '.join(who[:3])}{' and others' if who[3:] else ''})" for what, who in told.items()]


def covered(tuples, proto, address):
    merged = []
    for first, last in sorted((a, b) for p, a, b, net in tuples if p == proto and address in net):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(last, merged[-1][1])
        else:
            merged.append([first, last])
    return merged


def show(ranges):
    return ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges) or "nothing"


def read_chain(host, ruleset, chain, side):
    """What a deciding chain accepts: flows, the same for redirected packets, and everything that is neither."""
    flows, redirected, other = set(), set(), []
    for seen, verdict, words in verdicts(ruleset, chain):
        if verdict == "return" or plumbing(seen) or own_containers(host, seen):
            continue
        if verdict == "accept":
            tuples = flow_tuples(seen, side)
            if tuples is None:
                other.append(words)
            else:
                (redirected if "ct status" in seen else flows).update(tuples)
        elif not harmless_drop(seen):
            other.append(words)
    return flows, redirected, other


def harmless_drop(seen):
    """Drops of what the policy is not about, and the one at the end."""
    keys = set(seen)
    return (
        keys <= {"meta pkttype", "ct status"}
        or (keys == {"ct state"} and seen["ct state"] == ["invalid"])
        or (keys == {"ip saddr"} and "127.0.0.0" in json.dumps(seen))
        or (keys == {"ip6 saddr"} and seen["ip6 saddr"] == ["::1"])
    )


def compare(host, ruleset, hook, side, wanted, evidence, sites=0):
    deciding = base_chains(ruleset, hook)
    assert deciding, f"no chain drops at {hook} what is not declared"
    readings = [read_chain(host, ruleset, chain, side) for chain, __ in deciding]
    flows, redirected, other = min(readings, key=lambda reading: len(differences(wanted, reading[0])))
    evidence(
        "\n".join(sorted(f"{proto} {show([[a, b]])} {net}" for proto, a, b, net in flows)) or "nothing is let through"
    )
    if redirected:
        ports = {entry for entry in wanted if entry[0] != "icmp"}
        assert not differences(ports, redirected), f"redirected packets: {'; '.join(differences(ports, redirected))}"
    assert len(other) <= sites, f"not declared, or not understood: {'; '.join(other)}"
    if other:
        evidence(f"rules of the site: {'; '.join(other)}")
    assert not differences(wanted, flows), "; ".join(differences(wanted, flows))


def site_rules(policy, chain):
    return len((policy.get("hardening_firewall_rules") or {}).get(chain) or [])


# --- the controls


@pytest.mark.control("firewall.default_deny")
def test_default_deny(ruleset, evidence):
    chains = base_chains(ruleset, "input")
    evidence([f"{chain['family']} {chain['table']} {chain['name']}: policy drop" for chain, __ in chains])
    assert 4 in dropped_versions(ruleset, "input"), (
        "no chain drops IPv4 packets to this host that nothing else decided on"
    )
    for chain, __ in chains:
        everything = [words for seen, verdict, words in verdicts(ruleset, chain) if verdict == "accept" and not seen]
        assert not everything, f"{chain['table']} {chain['name']} accepts everything: {everything[0]}"


@pytest.mark.control("firewall.default_deny")
def test_nothing_undeclared_answers(host, policy, evidence):
    """Knock, from where the tests run, at every port that listens and that no flow leads to."""
    wanted = declared(policy, policy.get("hardening_flows", []), "to", "from")
    reach = {(proto, port) for proto, first, last, __ in wanted for port in range(first, last + 1)}
    silent = set()
    for line in host.check_output("ss -Hltnp").splitlines():
        address, __, port = line.split()[3].rpartition(":")
        published = "firewall.containers" not in policy["controls"] and any(f'"{name}"' in line for name in ENGINES)
        if ("tcp", int(port)) not in reach and not published and not re.match(r"127\.|\[::1\]", address):
            silent.add(int(port))
    addresses = [
        str(net.network_address)
        for entry in policy["all_hosts"][policy["name"]]["addresses"]
        for net in networks(entry)
        if net.num_addresses == 1
    ]

    def knock(door):
        try:
            socket.create_connection(door, 2).close()
        except OSError:
            return None
        return f"{door[0]} port {door[1]}"

    doors = [(address, port) for address in addresses for port in sorted(silent)]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answered = [door for door in pool.map(knock, doors) if door]
    evidence(f"knocked at {', '.join(map(str, sorted(silent))) or 'no port'} of {', '.join(addresses)}")
    assert not answered, f"answers though no flow leads there: {', '.join(answered)}"


@pytest.mark.control("firewall.flows")
def test_flows(host, ruleset, policy, evidence):
    wanted = declared(policy, policy.get("hardening_flows", []), "to", "from")
    compare(host, ruleset, "input", "saddr", wanted, evidence, site_rules(policy, "input"))


@pytest.mark.control("firewall.ipv6")
def test_ipv6(ruleset, evidence):
    versions = dropped_versions(ruleset, "input")
    evidence(f"dropped unless declared: {', '.join(f'IPv{version}' for version in sorted(versions)) or 'nothing'}")
    assert 6 in versions, "no chain drops IPv6 packets to this host"
    for chain, __ in base_chains(ruleset, "input"):
        for seen, verdict, words in verdicts(ruleset, chain):
            assert verdict != "accept" or set(seen) != {"meta nfproto"}, f"a whole IP version is let in: {words}"


@pytest.mark.control("firewall.forward")
def test_forward(host, ruleset, evidence, not_applicable):
    deciding = base_chains(ruleset, "forward")
    accepted = [
        words for chain, __ in deciding for seen, verdict, words in verdicts(ruleset, chain) if verdict == "accept"
    ]
    evidence([f"{chain['family']} {chain['table']} {chain['name']}: policy drop" for chain, __ in deciding] + accepted)
    if dropped_versions(ruleset, "forward") == {4, 6} and not accepted:
        return
    paths = "/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"
    if "1" not in host.run(f"cat {paths}").stdout.split():
        evidence("the kernel forwards nothing")
        return
    rewrites = re.findall(r'"(?:masquerade|snat|dnat|MASQUERADE|SNAT|DNAT)"', json.dumps(ruleset))
    kept = host.run(f"grep -rlsE '{FORWARDING}' /etc/sysctl.conf /etc/sysctl.d /etc/systemd/network").stdout.split()
    engines = host.run(f"ls -d {' '.join(RUNS_GUESTS)} 2>/dev/null").stdout.split()
    if rewrites or kept or engines:
        not_applicable(f"the host forwards for others: {', '.join([*engines, *kept]) or 'address translation'}")
    pytest.fail("packets from one network to another pass through this host")


@pytest.mark.control("firewall.boot")
def test_boot(host, evidence):
    unit = "rampart-firewall.service"
    properties = "LoadState,UnitFileState,ActiveState,Before,After,Wants,DefaultDependencies"
    shown = dict(
        line.split("=", 1) for line in host.check_output(f"systemctl show -p {properties} {unit}").splitlines()
    )
    evidence(shown)
    assert shown["LoadState"] == "loaded", f"there is no {unit}"
    assert shown["UnitFileState"] == "enabled", f"{unit} is not enabled: the next boot leaves the host open"
    assert "network-pre.target" in shown["Before"].split(), f"{unit} does not come before the network"
    assert "network-pre.target" in shown["Wants"].split(), (
        "nothing pulls in network-pre.target, so nothing waits for it"
    )
    assert shown["DefaultDependencies"] == "no", f"{unit} waits for the basic system, and the network may not"
    start = host.check_output(f"systemctl show -p ExecStart --value {unit}")
    path = re.search(r"nft -f (\S+)", start)
    assert path, f"{unit} loads nothing: {start}"
    host.check_output(f"nft -c -f {path[1]}")
    flush = host.run("systemctl show -p LoadState,ExecStartPost,ExecReload,ExecStopPost nftables.service").stdout
    if "LoadState=loaded" in flush:
        for moment in ("ExecStartPost", "ExecReload", "ExecStopPost"):
            line = "".join(line for line in flush.splitlines() if line.startswith(moment))
            assert path[1] in line, f"nftables.service flushes every table, and {moment} does not bring ours back"


@pytest.mark.control("firewall.log")
def test_log(ruleset, evidence):
    rules = [rule for chain, __ in base_chains(ruleset, "input") for rule in reached(ruleset, chain)]
    logs = [rule for rule in rules if "log" in keys_of(rule)]
    evidence([rule["expr"] for rule in logs])
    assert logs, "what is refused is not logged"
    assert all("limit" in keys_of(rule) for rule in logs), (
        "a log rule without a limit lets a flood of packets fill the disk"
    )


def keys_of(rule):
    return {key for expression in rule["expr"] for key in expression}


def reached(ruleset, chain):
    """The rules of a chain and of those it jumps to."""
    for rule in rules_of(ruleset, chain):
        yield rule
        for expression in rule["expr"]:
            if target := expression.get("jump") or expression.get("goto"):
                yield from reached(ruleset, {**chain, "name": target["target"]})


@pytest.mark.control("firewall.egress")
def test_egress(host, ruleset, policy, evidence, not_applicable):
    egress = policy.get("hardening_egress")
    if egress is None:
        not_applicable("no egress policy is declared")
    assert dropped_versions(ruleset, "output") == {4, 6}, "what leaves the host is not dropped unless declared"
    wanted = declared(policy, [*policy.get("hardening_flows", []), *egress], "from", "to")
    compare(host, ruleset, "output", "daddr", wanted, evidence, site_rules(policy, "output"))


@pytest.mark.control("firewall.containers")
def test_containers(host, ruleset, policy, evidence, not_applicable):
    if host.run("ls -d /var/lib/kubelet /etc/kubernetes /etc/rancher 2>/dev/null").stdout.strip():
        not_applicable("a Kubernetes node: its network policies decide")
    if not re.search(r'"(dnat|DNAT)"', json.dumps(ruleset)):
        not_applicable("no port is published to a container or guest")
    wanted = {
        entry for entry in declared(policy, policy.get("hardening_flows", []), "to", "from") if entry[0] != "icmp"
    }
    for chain, __ in base_chains(ruleset, "input"):
        for seen, verdict, words in verdicts(ruleset, chain):
            if verdict == "accept" and own_containers(host, seen):
                assert set(seen.get("th dport", ["everything"])) <= {53, 67, 547}, (
                    f"containers reach more than DNS: {words}"
                )
    for kind, chain in ruleset:
        if kind != "chain" or chain.get("hook") != "forward" or chain["family"] != "inet":
            continue
        ways = [way for way in verdicts(ruleset, chain) if not plumbing(way[0]) and not own_containers(host, way[0])]
        if any(verdict == "drop" and set(seen) == {"ct status"} for seen, verdict, __ in ways):
            accepted = [(flow_tuples(seen, "saddr"), words) for seen, verdict, words in ways if verdict == "accept"]
            unclear = [words for tuples, words in accepted if tuples is None]
            assert not unclear, f"not declared, or not understood: {'; '.join(unclear)}"
            evidence(f"{chain['table']} {chain['name']} holds published ports to the flows")
            told = differences(wanted, set().union(*(tuples for tuples, __ in accepted)))
            assert not told, "; ".join(told)
            return
    pytest.fail("published ports answer whoever asks")
