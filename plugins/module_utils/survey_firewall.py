# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the firewall role has to know of a host: who filters already, what is forwarded, what listens. Reads only."""
from __future__ import annotations

import contextlib
import glob
import ipaddress
import json
import os
import re
import sys

OURS = 'rampart'

# What runs guests or containers here: (name, one of these paths exists, its interfaces as nft writes them)
ENGINES = (
    ('docker', ('/run/docker.sock', '/run/docker.pid', '/etc/docker', '/sys/class/net/docker0'), ('docker*', 'br-*')),
    ('podman', ('/usr/bin/podman',), ('podman*', 'cni-podman*')),
    ('libvirt', ('/run/libvirt/libvirt-sock', '/sys/class/net/virbr0'), ('virbr*',)),
    ('lxc', ('/sys/class/net/lxcbr0', '/sys/class/net/lxdbr0', '/sys/class/net/incusbr0'),
     ('lxcbr*', 'lxdbr*', 'incusbr*')),
    ('proxmox', ('/etc/pve',), ()),
    ('containerd', ('/run/containerd/containerd.sock',), ('nerdctl*', 'cni*')),
    ('kubernetes', ('/var/lib/kubelet', '/etc/kubernetes', '/etc/rancher', '/var/snap/microk8s', '/etc/k0s'),
     ('cni*', 'cali*', 'cilium*', 'lxc*', 'flannel*', 'veth*', 'weave*', 'kube-*', 'eni*', 'nodelocaldns*', 'tunl0',
      'vxlan.calico', 'antrea-gw0', 'ovn-k8s-*')),
)
FORWARDING = re.compile(r'^\s*(?:net[./]ipv4[./]ip_forward|net[./]ipv[46][./]conf[./]\S+[./]forwarding)\s*=\s*1\b'
                        r'|^\s*IP(?:v[46])?Forward(?:ing)?\s*=\s*(?:yes|true|1|both|ipv[46]|kernel)\b', re.M | re.I)
DHCP = re.compile(r'^\s*iface\s+\S+\s+inet6?\s+dhcp|^\s*DHCP\s*=\s*(?:yes|true|both|ipv[46])', re.M | re.I)


def read(path):
    """The text of a file, empty where it cannot be read."""
    try:
        with open(path, encoding='utf-8', errors='replace') as handle:
            return handle.read()
    except OSError:
        return ''


def said_in(pattern, *globs):
    """Whether the expression is found in one of the files."""
    return any(pattern.search(read(path)) for where in globs for path in glob.glob(where))


def address(text):
    """An address as /proc/net writes it: words of four bytes in the byte order of the host."""
    raw = bytes.fromhex(text)
    if sys.byteorder == 'little':
        raw = b''.join(raw[i:i + 4][::-1] for i in range(0, len(raw), 4))
    return str(ipaddress.ip_address(raw))


def processes():
    """Whose sockets: {inode: process name}."""
    owners = {}
    for descriptor in glob.iglob('/proc/[0-9]*/fd/*'):
        with contextlib.suppress(OSError):
            target = os.readlink(descriptor)
            if target.startswith('socket:['):
                owners.setdefault(target[8:-1], read(os.path.join(descriptor.rsplit('/', 2)[0], 'comm')).strip())
    return owners


def listening():
    """The sockets that wait for strangers. An unconnected UDP socket on an ephemeral port is a client's."""
    ephemeral = [int(word) for word in read('/proc/sys/net/ipv4/ip_local_port_range').split()] or [32768, 60999]
    owners, found = processes(), {}
    for proto, state in (('tcp', '0A'), ('udp', '07')):
        for family in ('', '6'):
            for line in read(f'/proc/net/{proto}{family}').splitlines()[1:]:
                with contextlib.suppress(ValueError, IndexError):
                    words = line.split()
                    local, port = words[1].split(':')
                    port = int(port, 16)
                    if words[3] == state and not (proto == 'udp' and ephemeral[0] <= port <= ephemeral[1]):
                        entry = dict(proto=proto, address=address(local), port=port, process=owners.get(words[9], ''))
                        found[proto, port, entry['address']] = entry
    return [found[key] for key in sorted(found)]


def destination_ports(expressions):
    """The single ports that a rule asks for: {(proto, port)}."""
    found = set()
    for expression in expressions:
        match = expression.get('match') or {}
        payload = match['left'].get('payload') or {} if isinstance(match.get('left'), dict) else {}
        if payload.get('field') == 'dport' and payload.get('protocol') in ('tcp', 'udp'):
            right = match.get('right')
            ports = right['set'] if isinstance(right, dict) and 'set' in right else [right]
            found |= {(payload['protocol'], port) for port in ports if isinstance(port, int)}
    return found


def verdicts(expressions):
    """The statements of a rule that decide or rewrite."""
    return {key for expression in expressions if isinstance(expression, dict) for key in expression}


def ruleset(run):
    """What others have loaded, from nft's own list: tables, chains that drop, and what hints at forwarding."""
    seen = dict(ours=False, tables=[], drops=[], nat=False, dnat=False, forward_rules=False,
                published=set())
    rc, out, dummy = run(['nft', '-j', 'list', 'ruleset'])
    try:
        entries = json.loads(out)['nftables'] if rc == 0 else []
    except (ValueError, KeyError, TypeError):
        entries = []
    hooks = {}
    for entry in entries:
        kind, item = next(iter(entry.items()))
        table = ' '.join([item.get('family', ''), item.get('name' if kind == 'table' else 'table', '')])
        if table == 'inet ' + OURS:
            seen['ours'] = True
        elif kind == 'table':
            seen['tables'].append(table)
        elif kind == 'chain' and item.get('hook'):
            hooks[table, item['name']] = item['hook']
            if item.get('policy') == 'drop' and item['hook'] in ('input', 'forward', 'output'):
                seen['drops'].append(f"{table} {item['name']} ({item['hook']})")
        elif kind == 'rule':
            what = verdicts(item.get('expr', []))
            named = json.dumps(item.get('expr', []))
            seen['nat'] |= bool(what & {'masquerade', 'snat', 'dnat'}) or bool(
                re.search(r'"name": "(MASQUERADE|SNAT|DNAT)"', named))
            dnat = 'dnat' in what or '"name": "DNAT"' in named
            seen['dnat'] |= dnat or 'redirect' in what or '"name": "REDIRECT"' in named
            seen['published'] |= destination_ports(item.get('expr', [])) if dnat else set()
            seen['forward_rules'] |= hooks.get((table, item.get('chain'))) == 'forward'
    return seen


def legacy(run):
    """Rules in the kernel's old iptables, which nft does not show, and iptables' words for both."""
    if not (glob.glob('/usr/sbin/iptables-save') + glob.glob('/sbin/iptables-save')):
        return ''
    return '\n'.join(run([command])[1] for command in ('iptables-save', 'ip6tables-save'))


def published(old):
    """The same from iptables' own words, for its old kernel half."""
    pattern = r'^-A \S+ (?!-d 127\.).*-p (tcp|udp)\b.*--dport (\d+)\b.*-j DNAT\b'
    return {(proto, int(port)) for proto, port in re.findall(pattern, old, re.M)}


def matches_sockets(run):
    """Whether the kernel can tell a packet of an open connection by its socket (a check: nothing is loaded).

    Every usual kernel can, so that the answer is yes where nft is yet to be installed.
    """
    return run(['nft', '-c', 'add table inet rampart_check; add chain inet rampart_check input; '
                'add rule inet rampart_check input socket wildcard 0'])[0] in (0, 127)


def engines():
    """What runs containers or guests here, and the interfaces behind which they are."""
    found = [(name, wildcards) for name, paths, wildcards in ENGINES if any(map(os.path.exists, paths))]
    present = os.listdir('/sys/class/net') if os.path.isdir('/sys/class/net') else []
    interfaces = {wildcard for dummy, wildcards in found for wildcard in wildcards}
    # Docker calls its bridges br-<twelve hex digits>; where another br-… exists, it may be the way to the world
    bridges = [name for name in present if name.startswith('br-')]
    if 'br-*' in interfaces and not all(re.fullmatch('br-[0-9a-f]{12}', name) for name in bridges):
        interfaces.remove('br-*')
        interfaces.update(name for name in bridges if re.fullmatch('br-[0-9a-f]{12}', name))
    return [name for name, dummy in found], sorted(interfaces)


def capable():
    """Whether we may filter packets at all; in a container that is for its engine to say."""
    match = re.search(r'^CapEff:\s*([0-9a-f]+)', read('/proc/self/status'), re.M)
    return not match or bool(int(match[1], 16) >> 12 & 1)  # CAP_NET_ADMIN


def dhcp(sockets):
    """Whether the host gets its addresses by DHCP, which answers to a client that no connection is known of."""
    if glob.glob('/run/systemd/netif/leases/*') or glob.glob('/var/lib/NetworkManager/*.lease'):
        return True
    return any(entry['proto'] == 'udp' and entry['port'] in (68, 546) for entry in sockets) or said_in(
        DHCP, '/etc/network/interfaces', '/etc/network/interfaces.d/*', '/etc/systemd/network/*.network')


def collect(run):
    """The firewall part of the survey. `run(argv)` gives (rc, stdout, stderr)."""
    rc, version, dummy = run(['nft', '--version'])
    rules, old = ruleset(run), legacy(run)
    names, interfaces = engines()
    forwards = list(names)
    may_forward = '1' in (read('/proc/sys/net/ipv4/ip_forward').strip(),
                          read('/proc/sys/net/ipv6/conf/all/forwarding').strip())
    # A container inherits the sysctl of its host: on its own it says nothing about intent
    if may_forward and said_in(FORWARDING, '/etc/sysctl.conf', '/etc/sysctl.d/*.conf', '/etc/systemd/network/*.network',
                               '/etc/systemd/network/*.network.d/*.conf', '/etc/systemd/networkd.conf'):
        forwards.append('router')
    if may_forward and glob.glob('/etc/wireguard/*.conf'):
        forwards.append('wireguard')
    translates = rules['nat'] or re.search(r'-j (MASQUERADE|SNAT|DNAT)\b', old)
    if may_forward and (translates or rules['forward_rules'] or re.search(r'^-A FORWARD\b', old, re.M)):
        forwards.append('rules')
    if read('/proc/sys/net/bridge/bridge-nf-call-iptables').strip() == '1' and glob.glob('/sys/class/net/*/brif/*'):
        forwards.append('bridge')
    sockets = listening()
    return dict(
        nft=version.split()[1] if rc == 0 and len(version.split()) > 1 else '',
        capable=capable(),
        loaded=rules['ours'],
        tables=rules['tables'],
        legacy=[name for family in ('ip', 'ip6') for name in read(f'/proc/net/{family}_tables_names').split()],
        drops=rules['drops'],
        forwards=sorted(set(forwards)),
        container_interfaces=interfaces,
        sockets=matches_sockets(run),
        redirects=rules['dnat'] or bool(names) or bool(re.search(r'-j (DNAT|REDIRECT)\b', old)),
        published=[dict(proto=proto, port=port, address='::', process='a published port')
                   for proto, port in sorted(rules['published'] | published(old))],
        dhcp=dhcp(sockets),
        listening=sockets,
    )
