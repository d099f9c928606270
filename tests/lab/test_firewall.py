# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall role judged by packets, in IPv4 and IPv6, and with other people's tables beside ours."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import time

import pytest
from hardened import releases, run
from lab import V4, V6, container

LAB = pathlib.Path(__file__).with_name("lab.py")
STATE = LAB.parents[2] / ".cache" / "lab"
CONTROLLERS = {"from": "controllers", "to": "all", "port": 22}

# Answers with what it is told, or sends a line every half second to whoever connects to port 7000
SERVER = """
import os, socket, sys, threading, time
def push(peer):
    while True:
        peer.sendall(b'tick\\n'); time.sleep(.5)
def echo(peer):
    while data := peer.recv(99):
        peer.sendall(data)
def serve(sock, port):
    while True:
        threading.Thread(target=push if port == 7000 else echo, args=(sock.accept()[0],), daemon=True).start()
def answer(sock):
    while True:
        data, peer = sock.recvfrom(99); sock.sendto(data, peer)
for port in map(int, sys.argv[1:]):
    tcp = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve, args=(tcp, port)).start()
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); udp.bind(('::', port))
    threading.Thread(target=answer, args=(udp,)).start()
if os.path.exists('/run/systemd/container'):
    open('/run/fw-server.pid', 'w').write(str(os.getpid()))
"""
CLIENT = """
import socket, sys
def ask(address, proto, port):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if proto == 'tcp' else socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        try:
            sock.connect((address, port)); sock.sendall(b'hello'); sock.recv(99)
            return 'open'
        except TimeoutError: return 'silent'
        except OSError as error: return type(error).__name__
for word in sys.argv[1:]:
    address, proto, port = word.split('/')
    print(ask(address, proto, int(port)))
"""


class Host:
    def __init__(self, name, image):
        self.name = name
        run(sys.executable, LAB, "host", "down", name, check=False)
        run(sys.executable, LAB, "host", "up", name, "--image", image)
        self.refresh()

    def refresh(self):
        self.state = STATE / "hosts" / self.name
        inventory = json.loads((self.state / "inventory.yml").read_text(encoding="utf-8"))
        self.policy, self.variables = inventory["all"]["vars"], inventory["all"]["children"]["jump"]["hosts"][self.name]
        self.addresses = self.variables["hardening_addresses"]
        self.pid = run("podman", "inspect", "--format", "{{.State.Pid}}", container(self.name)).stdout.strip()

    def sh(self, command, check=True):
        return run("podman", "exec", container(self.name), "sh", "-c", command, check=check).stdout

    def net(self, *argv):
        """This machine's own command in the network of the host."""
        return run("nsenter", "--target", self.pid, "--net", *argv).stdout

    def serve(self, *ports):
        self.sh("kill $(cat /run/fw-server.pid) 2>/dev/null; rm -f /run/fw-server.pid", check=False)
        subprocess.run(["podman", "exec", "--detach", container(self.name), "python3", "-c", SERVER,
                        *map(str, ports)], check=True, capture_output=True)  # fmt: skip
        time.sleep(1)

    def ask(self, *questions):
        """What the host sees of others: open, silent, or the error, for each (address, proto, port)."""
        words = ["/".join(map(str, question)) for question in questions]
        return run("podman", "exec", container(self.name), "python3", "-c", CLIENT, *words).stdout.split()

    def reboot(self):
        run(sys.executable, LAB, "host", "restart", self.name)
        self.refresh()


@pytest.fixture(scope="module", params=releases("bookworm"))
def hosts(request):
    made = [Host(f"fw-{request.param}", request.param), Host(f"fw-{request.param}-peer", "bookworm")]
    yield made
    run(sys.executable, LAB, "host", "down", *(host.name for host in made))


@pytest.fixture
def target(hosts):
    """The first host, without a firewall before the test and after it."""
    yield hosts[0]
    assert_play(hosts, [{"rampart.hardening.undo": {"what": "all"}}], {})
    assert "inet rampart" not in hosts[0].sh("nft list tables")


@pytest.fixture
def peer(hosts):
    return hosts[1]


@pytest.fixture
def harden(hosts, target):
    """harden([flow...], variable=value...) runs the role; says how many changes Ansible counted."""

    def run_role(flows, *options, check=True, **variables):
        tasks = [{"ansible.builtin.import_role": {"name": "rampart.hardening.firewall"}}]
        return assert_play(hosts, tasks, {"hardening_flows": [CONTROLLERS, *flows], **variables}, *options, check=check)

    return run_role


class Said(str):
    @property
    def changed(self):
        return int(re.search(r"changed=(\d+)", self)[1])


def assert_play(hosts, tasks, variables, *options, check=True):
    target, peer = hosts
    inventory = {
        "all": {
            "vars": {**target.policy, **variables},
            "children": {
                "target": {"hosts": {target.name: target.variables}},
                "peers": {"hosts": {peer.name: peer.variables}},
            },
        }
    }
    folder = target.state / "firewall"
    folder.mkdir(exist_ok=True)
    (folder / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    playbook = [{"hosts": "target", "gather_facts": False, "tasks": tasks}]
    (folder / "play.json").write_text(json.dumps(playbook), encoding="utf-8")
    command = ["ansible-playbook", "--inventory", str(folder / "hosts.json"), str(folder / "play.json"), *options]
    return Said(run(*command, check=check).stdout)


def both(host, proto, port):
    return [(address, proto, port) for address in host.addresses]


def ping(address):
    """One echo request and its reply, or TimeoutError."""
    six = ":" in address
    family, proto = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    request = bytes([128 if six else 8, 0]) + (bytes(2) if six else b"\xf7\xff") + bytes(4)  # the kernel sums up ICMPv6
    with socket.socket(family, socket.SOCK_RAW, proto) as sock:
        sock.settimeout(2)
        sock.connect((address, 0))
        sock.send(request)
        while True:
            packet = sock.recv(999)
            if packet[0 if six else 20] == (129 if six else 0):
                return


def others(host):
    """Every table but ours, without counters."""
    return [host.sh(f"nft -s list table {table}") for table in host.sh("nft list tables | cut -c7-").splitlines()
            if table != "inet rampart"]  # fmt: skip


def test_only_declared_flows(target, peer, harden):
    target.serve(80, 5005, 8088)
    peer.serve(22222)
    undeclared = [*both(target, "tcp", 8088), *both(target, "udp", 80), *both(target, "tcp", 22)]
    declared = [*both(target, "tcp", 80), *both(target, "tcp", 5005), *both(target, "udp", 5005)]
    assert peer.ask(*declared, *undeclared) == ["open"] * 12
    said = harden(
        [
            {"from": "peers", "to": "target", "port": [80, "5000-5010"]},
            {"from": "any", "to": "target", "port": 5005, "proto": "udp"},
        ]
    )
    assert "no flow leads to 8088/tcp python3" in said
    assert peer.ask(*declared) == ["open"] * 6
    assert peer.ask(*undeclared) == ["silent"] * 6
    assert target.ask(*both(peer, "tcp", 22222), *both(peer, "udp", 22222)) == ["open"] * 4
    for address in target.addresses:
        ping(address)
    assert harden(
        [
            {"from": "peers", "to": "target", "port": [80, "5000-5010"]},
            {"from": "any", "to": "target", "port": 5005, "proto": "udp"},
        ]
    ).changed == 0  # fmt: skip


def test_another_source_is_refused(target, peer, harden):
    target.serve(80)
    others = (f"{V4}.0.200", f"{V6}::200")
    harden([{"from": other, "to": "target", "port": 80} for other in others])
    assert peer.ask(*both(target, "tcp", 80)) == ["silent"] * 2
    with contextlib.ExitStack() as stack:
        for address in (f"{others[0]}/24", f"{others[1]}/64"):
            peer.net("ip", "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            stack.callback(peer.net, "ip", "address", "del", address, "dev", "eth0")
        program = "import socket,sys; socket.create_connection((sys.argv[1], 80), 2, (sys.argv[2], 0))"
        for ours, theirs in zip(target.addresses, others, strict=True):
            run("podman", "exec", container(peer.name), "python3", "-c", program, ours, theirs)


def test_what_is_connected_stays_connected(target, peer, harden):
    target.serve(80)
    peer.serve(7000)
    talk = (
        "import socket,sys,time\nsock=socket.create_connection((sys.argv[1],int(sys.argv[2])),3); sock.settimeout(9)\n"
        "until=time.time()+25\nwhile time.time()<until:\n"
        "    if sys.argv[2]=='80': sock.sendall(b'x')\n    assert sock.recv(99); time.sleep(.2)\n"
    )
    connections = [
        subprocess.Popen(["podman", "exec", container(who.name), "python3", "-c", talk, address, port])
        for who, whom, port in ((peer, target, "80"), (target, peer, "7000"))
        for address in whom.addresses
    ]
    time.sleep(1)
    harden(
        [{"from": "peers", "to": "target", "port": 80}], hardening_egress=[{"from": "all", "to": "peers", "port": 7000}]
    )
    assert [connection.wait(60) for connection in connections] == [0] * 4


def test_a_flush_of_all_tables_does_not_open_the_host(target, peer, harden):
    target.serve(80, 8088)
    harden([{"from": "peers", "to": "target", "port": 80}])
    for action in ("start", "restart", "reload", "stop", "start", "stop"):
        target.sh(f"systemctl {action} nftables.service")
        assert peer.ask((target.addresses[0], "tcp", 80), (target.addresses[1], "tcp", 8088)) == ["open", "silent"]
    assert harden([{"from": "peers", "to": "target", "port": 80}]).changed == 0


def test_it_stands_before_the_network_at_boot(target, peer, harden):
    target.sh("systemctl enable nftables.service")
    harden([{"from": "peers", "to": "target", "port": 80}])
    target.reboot()
    target.serve(80, 8088)
    assert peer.ask((target.addresses[0], "tcp", 80), (target.addresses[1], "tcp", 8088)) == ["open", "silent"]
    show = target.sh(
        "systemctl show --property=ActiveEnterTimestampMonotonic --value "
        "nftables.service rampart-firewall.service network-pre.target"
    )
    order = [int(stamp) for stamp in show.split()]
    assert len(order) >= 2 and order == sorted(order) and order[0] > 0
    assert harden([{"from": "peers", "to": "target", "port": 80}]).changed == 0
    target.sh("systemctl disable nftables.service")


DAMAGES = (
    "nft delete table inet rampart",
    "nft flush ruleset",
    "nft insert rule inet rampart input accept",
    "nft flush chain inet rampart refused",
    "nft 'chain inet rampart input { policy accept; }'",
    "systemctl stop rampart-firewall.service",
    "rm /etc/systemd/system/sysinit.target.wants/rampart-firewall.service",
    "sed -i 's/dport 80/dport 8088/' /etc/rampart/firewall.nft && systemctl reload rampart-firewall.service",
)


def test_drift_is_seen_and_mended(target, harden):
    flows = [{"from": "peers", "to": "target", "port": 80}]
    harden(flows)
    before = target.sh("nft -s list table inet rampart")
    for damage in DAMAGES:
        target.sh(damage)
        if damage == DAMAGES[0]:
            assert harden(flows, "--check").changed == 1
        assert harden(flows).changed == 1, damage
        assert target.sh("nft -s list table inet rampart") == before, damage
    assert harden(flows).changed == 0


def test_others_tables_are_left_alone(target, peer, harden):
    target.serve(80)
    rules = """
table inet f2b-table {
  set addr-set-sshd { type ipv4_addr; elements = { 192.0.2.66 }; }
  chain f2b-chain { type filter hook input priority filter - 1; policy accept
    tcp dport 22 ip saddr @addr-set-sshd reject
    tcp dport 80 counter
  }
}
table inet site { chain output { type filter hook output priority filter; policy accept
    udp dport 9999 drop
  }
}"""
    run("nsenter", "--target", target.pid, "--net", "nft", "-f", "-", input=rules)
    for command in ("iptables", "ip6tables"):  # as ufw does
        target.net(command, "-N", "ufw-user-input")
        target.net(command, "-A", "INPUT", "-j", "ufw-user-input")
        target.net(command, "-A", "ufw-user-input", "-p", "tcp", "--dport", "80", "-j", "ACCEPT")
    before = others(target)
    assert len(before) == 4
    harden([{"from": "peers", "to": "target", "port": 80}])
    assert others(target) == before
    assert peer.ask(*both(target, "tcp", 80)) == ["open"] * 2
    # the ban still bans
    target.sh(f"nft add element inet f2b-table addr-set-sshd '{{ {peer.addresses[0]} }}'")
    target.sh("nft add rule inet f2b-table f2b-chain tcp dport 80 ip saddr @addr-set-sshd drop")
    assert peer.ask(*both(target, "tcp", 80)) == ["silent", "open"]
    assert "packets 0 " not in target.sh("nft list chain inet f2b-table f2b-chain | grep 'dport 80 counter'")
    target.sh("nft flush set inet f2b-table addr-set-sshd")
    target.sh("nft delete table inet rampart")
    harden([{"from": "peers", "to": "target", "port": 80}])
    target.sh("nft flush ruleset")


def test_a_redirected_port_answers_under_its_own_number(target, peer, harden):
    target.serve(8088)
    redirect = """
table inet site { chain prerouting { type nat hook prerouting priority dstnat
    tcp dport { 80, 81 } redirect to :8088
  }
}"""
    run("nsenter", "--target", target.pid, "--net", "nft", "-f", "-", input=redirect)
    ports = [question for port in (80, 81, 8088) for question in both(target, "tcp", port)]
    assert peer.ask(*ports) == ["open"] * 6
    harden([{"from": "peers", "to": "target", "port": [80, 443]}])
    assert peer.ask(*ports) == ["open"] * 2 + ["silent"] * 4
    target.sh("nft delete table inet site")


@contextlib.contextmanager
def docker(target):
    """What Docker makes of `run -p 8081:80`: a bridge, a container in a network of its own, and iptables rules."""
    guest = "fw-guest"
    rules = [
        "iptables -t nat -N DOCKER",
        "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        "iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80",
        "iptables -P FORWARD DROP",
        "iptables -N DOCKER",
        "iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "iptables -A FORWARD -o docker0 -j DOCKER",
        "iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
        "iptables -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT",
    ]
    run("ip", "netns", "delete", guest, check=False)
    run("ip", "netns", "add", guest)
    target.net("ip", "link", "add", "docker0", "type", "bridge")
    target.net("ip", "address", "add", "172.17.0.1/16", "dev", "docker0")
    run("ip", "link", "add", "fwg0", "netns", guest, "type", "veth", "peer", "name", "fwg1", "netns", target.pid)
    target.net("ip", "link", "set", "fwg1", "master", "docker0", "up")
    target.net("ip", "link", "set", "docker0", "up")
    for words in ("address add 172.17.0.2/16 dev fwg0", "link set fwg0 up", "route add default via 172.17.0.1"):
        run("ip", "-n", guest, *words.split())
    for rule in rules:
        target.net(*rule.split())
    server = subprocess.Popen(["ip", "netns", "exec", guest, sys.executable, "-c", SERVER, "80"])
    time.sleep(1)

    def ask(*questions):
        words = ["/".join(map(str, question)) for question in questions]
        return run("ip", "netns", "exec", guest, sys.executable, "-c", CLIENT, *words).stdout.split()

    try:
        yield ask
    finally:
        server.kill()
        run("ip", "netns", "delete", guest)
        target.net("ip", "link", "delete", "docker0")
        target.sh("nft flush ruleset")


@pytest.mark.parametrize("level", [1, 2])
def test_containers(target, peer, harden, level):
    target.serve(5000)
    peer.serve(80)
    published = (target.addresses[0], "tcp", 8081)
    outward, inward = (peer.addresses[0], "tcp", 80), ("172.17.0.1", "tcp", 5000)
    with docker(target) as ask:
        assert peer.ask(published) == ["open"] and ask(outward, inward) == ["open"] * 2
        before = others(target)
        said = harden([], hardening_level=level)
        assert others(target) == before
        if level == 1:
            assert "port 8081 is published by others, whatever the flows say" in said, said
            assert peer.ask(published) == ["open"] and ask(outward, inward) == ["open"] * 2
        else:
            assert peer.ask(published) == ["silent"] and ask(outward, inward) == ["open", "silent"]
            harden([{"from": "peers", "to": "target", "port": 8081}], hardening_level=2)
            assert peer.ask(published) == ["open"] and ask(outward, inward) == ["open", "silent"]
        assert peer.ask(*both(target, "tcp", 5000)) == ["silent"] * 2


def test_a_plain_host_forwards_nothing(target, peer, harden):
    peer.net("ip", "route", "add", "203.0.113.0/24", "via", target.addresses[0])
    target.net("ip", "link", "add", "dmz", "type", "veth", "peer", "name", "dmz1")
    target.net("ip", "link", "set", "dmz1", "up")
    target.net("ip", "address", "add", "203.0.113.1/24", "dev", "dmz")
    target.net("ip", "link", "set", "dmz", "up")
    count = "cat /sys/class/net/dmz/statistics/tx_packets"
    try:
        target.net("ip", "neighbour", "add", "203.0.113.9", "lladdr", "02:00:00:00:00:09", "dev", "dmz")
        peer.ask(("203.0.113.9", "udp", 9))
        forwarded = int(target.sh(count))
        assert forwarded > 0
        harden([])
        peer.ask(("203.0.113.9", "udp", 9))
        before = int(target.sh(count))
        peer.ask(("203.0.113.9", "udp", 9))
        assert int(target.sh(count)) == before
        harden([], firewall_forward="keep")
        peer.ask(("203.0.113.9", "udp", 9))
        assert int(target.sh(count)) > before
    finally:
        target.net("ip", "link", "delete", "dmz")
        peer.net("ip", "route", "delete", "203.0.113.0/24")


def test_egress(target, peer, harden):
    peer.serve(53, 80, 443)
    egress = [{"from": "all", "to": "peers", "port": 53, "proto": "udp"}]
    harden([{"from": "target", "to": "peers", "port": 443}], hardening_egress=egress)
    allowed = [*both(peer, "udp", 53), *both(peer, "tcp", 443)]
    refused = [*both(peer, "tcp", 80), *both(peer, "tcp", 53), *both(peer, "tcp", 22)]
    assert target.ask(*allowed, *refused) == ["open"] * 4 + ["silent"] * 6
    assert harden([{"from": "target", "to": "peers", "port": 443}], hardening_egress=egress).changed == 0
    target.sh(
        "ping -c1 -W1 127.0.0.1 >/dev/null || python3 -c 'import socket; socket.create_connection((\"::1\", 22))'"
    )


def test_rules_of_the_site(target, peer, harden):
    target.serve(6000)
    harden([], firewall_extra_rules={"input": ["iifname eth0 tcp dport 6000 accept"]})
    assert peer.ask(*both(target, "tcp", 6000)) == ["open"] * 2


def test_a_firewall_that_shuts_the_controller_out_takes_itself_back(target, peer, harden):
    target.serve(80)
    shut = {"firewall_flows": [{"from": "peers", "to": "all", "port": 22}], "hardening_controllers": ["192.0.2.1"]}
    said = harden([], "--connection=ansible.builtin.ssh", check=False, **shut)
    assert "refused before anything was changed" in said and "failed=1" in said
    # past preflight: rules of the site that no preflight can judge
    said = harden([], check=False, hardening_confirm_timeout=15, firewall_extra_rules={"input": ["tcp dport 22 drop"]})
    assert "failed=1" in said
    assert "inet rampart" not in target.sh("nft list tables")
    assert target.sh("ls /etc/systemd/system/rampart-firewall.service 2>/dev/null || true") == ""
    assert peer.ask((target.addresses[0], "tcp", 80)) == ["open"]


def test_nothing_of_it_is_left_after_undo(hosts, target, peer, harden):
    target.sh("nft 'table inet site { chain input { type filter hook input priority 0; policy accept; }; }'")
    manifest = (
        "find /etc -xdev -printf '%p %m %u %g %y %l ' -exec sh -c 'test -f $1 && sha256sum <$1 || echo' - {} ';' | sort"
    )
    before, tables = target.sh(manifest), others(target)
    harden([{"from": "peers", "to": "target", "port": 80}])
    harden([{"from": "peers", "to": "target", "port": 81}])
    assert_play(hosts, [{"rampart.hardening.undo": {"what": "role:firewall"}}], {})
    assert target.sh(manifest) == before
    assert others(target) == tables
    assert target.sh("nft list tables") == "table inet site\n"
    assert target.sh("systemctl show --property=LoadState,ActiveState rampart-firewall.service").split() == [
        "LoadState=not-found",
        "ActiveState=inactive",
    ]
    assert target.sh("ls -d /run/rampart-firewall 2>/dev/null || true") == ""
    target.sh("nft delete table inet site")
