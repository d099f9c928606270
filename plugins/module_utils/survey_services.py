# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the services role has to know of a host: what listens, what is installed, who uses cron. Reads only."""
from __future__ import annotations

import contextlib
import glob
import grp
import ipaddress
import os
import pwd
import re
import stat

from ansible_collections.rampart.hardening.plugins.module_utils.survey_firewall import address, read

UNITS = '/etc/systemd/system'
PLACES = (UNITS, '/run/systemd/system', '/run/systemd/generator', '/run/systemd/generator.late', '/lib/systemd/system',
          '/usr/local/lib/systemd/system')
MASKED = '/etc/rampart/services.masked'
SANDBOX = 'rampart-sandbox.conf'
SANDBOXED = ('ssh.service', 'cron.service', 'nginx.service', 'mariadb.service')
MARK = '# Written by the role services of rampart.hardening.'
ADOPTED = '# had jobs before this list was there'
CRON_PATHS = ('/etc/crontab', '/etc/cron.hourly', '/etc/cron.daily', '/etc/cron.weekly', '/etc/cron.monthly',
              '/etc/cron.yearly', '/etc/cron.d')
SYS_ADMIN = 21

# name: (units, packages to purge, ports that mean that it is wanted). rsync is a tool of everybody: never purged.
SERVERS = {
    'autofs': ('autofs.service', 'autofs', ''),
    'avahi': ('avahi-daemon.socket avahi-daemon.service', 'avahi-daemon', 'udp/5353'),
    'dhcp': ('isc-dhcp-server.service isc-dhcp-server6.service kea-dhcp4-server.service kea-dhcp6-server.service',
             'isc-dhcp-server kea-dhcp4-server kea-dhcp6-server', 'udp/67 udp/547'),
    'bind9': ('named.service', 'bind9', 'udp/53 tcp/53 tcp/853'),
    'dnsmasq': ('dnsmasq.service', 'dnsmasq', 'udp/53 tcp/53 udp/67 udp/69'),
    'ftp': ('vsftpd.service proftpd.socket proftpd.service pure-ftpd.service', 'vsftpd proftpd-core pure-ftpd',
            'tcp/21 tcp/990'),
    'slapd': ('slapd.service', 'slapd', 'tcp/389 tcp/636'),
    'dovecot': ('dovecot.socket dovecot.service', 'dovecot-core',
                'tcp/110 tcp/143 tcp/993 tcp/995 tcp/4190 tcp/25 tcp/465 tcp/587'),
    'nfs': ('nfs-server.service', 'nfs-kernel-server', 'tcp/2049 udp/2049'),
    'ypserv': ('ypserv.service yppasswdd.service ypxfrd.service', 'ypserv', ''),
    'cups': ('cups.socket cups.path cups-browsed.service cups.service', 'cups cups-daemon cups-browsed', 'tcp/631'),
    'rpcbind': ('rpcbind.socket rpcbind.service', 'rpcbind', 'tcp/111 udp/111 tcp/2049 udp/2049'),
    'statd': ('rpc-statd.service', '', 'tcp/2049 udp/2049'),
    'rsync': ('rsync.service', '', 'tcp/873'),
    'samba': ('smbd.service nmbd.service samba-ad-dc.service', 'samba', 'tcp/139 tcp/445 udp/137 udp/138'),
    'snmpd': ('snmpd.service', 'snmpd', 'udp/161 tcp/161 tcp/705'),
    'tftp': ('tftpd-hpa.service atftpd.socket atftpd.service', 'tftpd-hpa atftpd', 'udp/69'),
    'squid': ('squid.service', 'squid', 'tcp/3128'),
    'apache2': ('apache2.service', 'apache2', 'tcp/80 tcp/443'),
    'lighttpd': ('lighttpd.service', 'lighttpd', 'tcp/80 tcp/443'),
    'nginx': ('nginx.service', 'nginx', 'tcp/80 tcp/443'),
    'journal-remote': ('systemd-journal-remote.socket systemd-journal-remote.service systemd-journal-gatewayd.socket '
                       'systemd-journal-gatewayd.service', '', 'tcp/19531 tcp/19532'),
    'inetd': ('xinetd.service inetd.service', 'xinetd openbsd-inetd inetutils-inetd', ''),
    'xserver': ('gdm3.service lightdm.service sddm.service xdm.service', 'xserver-xorg-core', ''),
}
CLIENTS = {
    'nis': 'ypbind-mt nis', 'rsh': 'rsh-client rsh-redone-client', 'talk': 'talk inetutils-talk',
    'telnet': 'telnet inetutils-telnet', 'ldap': 'ldap-utils', 'ftp': 'ftp tnftp inetutils-ftp',
}


def sockets():
    """([listening: {proto, address, port, inode}], {local ports of established TCP connections})."""
    ephemeral = [int(word) for word in read('/proc/sys/net/ipv4/ip_local_port_range').split()] or [32768, 60999]
    waiting, established = [], set()
    for proto in ('tcp', 'udp'):
        for line in (read(f'/proc/net/{proto}') + read(f'/proc/net/{proto}6')).splitlines():
            with contextlib.suppress(ValueError, IndexError):
                words = line.split()
                local, port = words[1].split(':')
                port, state = int(port, 16), words[3]
                if (proto, state) == ('tcp', '01'):
                    established.add(port)
                # an unconnected UDP socket on an ephemeral port is a client's
                elif (proto, state) == ('tcp', '0A') or (
                        (proto, state) == ('udp', '07') and not ephemeral[0] <= port <= ephemeral[1]):
                    waiting.append(dict(proto=proto, address=address(local), port=port, inode=words[9]))
    return waiting, established


def unit_of(pid):
    """The systemd unit of a process; empty where it has none."""
    found = re.findall(r'/([^/\n]+\.(?:service|scope))(?=[/\n]|$)', read(f'/proc/{pid}/cgroup'))
    return found[-1] if found else ''


def owners(inodes):
    """Who holds these sockets: {inode: (process, unit)}. PID 1 comes last: what it opened it may have handed on."""
    found = {}
    pids = sorted((name for name in os.listdir('/proc') if name.isdigit()), key=int, reverse=True)
    for pid in pids:
        if len(found) == len(inodes) and pid != '1':
            break
        with contextlib.suppress(OSError):
            for name in os.listdir(f'/proc/{pid}/fd'):
                with contextlib.suppress(OSError):
                    target = os.readlink(f'/proc/{pid}/fd/{name}')
                    inode = target[8:-1]
                    if target.startswith('socket:[') and inode in inodes and inode not in found:
                        found[inode] = (read(f'/proc/{pid}/comm').strip(), unit_of(pid))
    return found


def activated(run):
    """The ports that socket units hold: {(proto, port): unit}."""
    rc, out, dummy = run(['systemctl', 'show', '--property=Id,Listen', '*.socket'])
    found, kinds = {}, {'Stream': 'tcp', 'Datagram': 'udp'}
    for block in out.split('\n\n') if rc == 0 else []:
        unit = re.search(r'^Id=(.*)$', block, re.M)
        for port, kind in re.findall(r'^Listen=.*?:(\d+) \((\w+)\)', block, re.M) if unit else []:
            found[kinds.get(kind, kind), int(port)] = unit.group(1)
    return found


def listening(run, waiting):
    """The sockets that wait for strangers: {proto, address, port, process, unit}. Those of loopback count as well."""
    held = owners({entry['inode'] for entry in waiting} - {'0'})
    by_init = activated(run) if any(process == 'systemd' for process, dummy in held.values()) else {}
    found = {}
    for entry in waiting:
        process, unit = held.get(entry['inode'], ('', ''))
        unit = by_init.get((entry['proto'], entry['port']), unit) if process == 'systemd' else unit
        found[entry['proto'], entry['port'], entry['address']] = dict(
            proto=entry['proto'], address=entry['address'], port=entry['port'], process=process, unit=unit,
            loopback=loopback(entry['address']))
    return [found[key] for key in sorted(found)]


def loopback(text):
    """Whether only this host itself reaches the address."""
    found = ipaddress.ip_address(text)
    return (getattr(found, 'ipv4_mapped', None) or found).is_loopback


def there(units):
    """Those of the units that have a file, so that systemd need not look for the others."""
    return [unit for unit in units if any(os.path.lexists(f'{place}/{unit}') for place in PLACES)]


def show(run, units, *properties):
    """systemd's word on units: {unit: {property: value}}; LoadState alone where no systemd runs."""
    if not units:
        return {}
    rc, out, dummy = run(['systemctl', 'show', '--property=Id,' + ','.join(properties), '--'] + units)
    blocks = [dict(line.partition('=')[::2] for line in block.splitlines()) for block in out.strip().split('\n\n')]
    # an alias answers with another name: the order is that of the question
    asked = rc == 0 and len(blocks) == len(units)
    return dict(zip(units, blocks if asked else [dict(LoadState='loaded')] * len(units)))


def servers(run, shown, masked):
    """The units of unneeded servers that are there: {unit: {active, enabled, masked, own, users}}."""
    found, users = {}, {}
    for unit in (unit for entry in SERVERS.values() for unit in entry[0].split() if unit in shown):
        facts = shown[unit]
        if facts.get('LoadState') in ('loaded', 'masked') or unit in masked:
            path = os.path.join(UNITS, unit)
            users[unit] = (facts.get('RequiredBy', '') + ' ' + facts.get('BoundBy', '')).split()
            found[unit] = dict(
                active=facts.get('ActiveState') in ('active', 'activating', 'reloading'),
                enabled=facts.get('UnitFileState', '') not in ('disabled', 'masked', 'static', ''),
                masked=os.path.islink(path) and os.readlink(path) == '/dev/null',
                own=os.path.lexists(path) and not (os.path.islink(path) and os.readlink(path) == '/dev/null'))
    asked = sorted({user for every in users.values() for user in every})
    active = {user for user, facts in show(run, asked, 'ActiveState').items() if facts.get('ActiveState') == 'active'}
    for unit, facts in found.items():
        facts['users'] = sorted(active & set(users[unit]))
    return found


def packages():
    """Which candidates for a purge are installed, and what else would go with each: {name: [package]}."""
    wanted = {name for entry in SERVERS.values() for name in entry[1].split()}
    wanted |= {name for entry in CLIENTS.values() for name in entry.split()}
    installed, depends = set(), {}
    for block in read('/var/lib/dpkg/status').split('\n\n'):
        name = re.match(r'Package: (\S+)\nStatus: \S+ ok installed$', block, re.M)
        if name:
            installed.add(name.group(1))
            for line in re.findall(r'^(?:Pre-)?Depends: (.*)$', block, re.M):
                depends.setdefault(name.group(1), []).extend(
                    {word.split()[0].partition(':')[0] for word in group.split('|') if word.split()}
                    for group in line.split(','))
    found = {name: [] for name in sorted(wanted & installed)}
    for package, groups in sorted(depends.items()):
        for group in groups:
            kept = [name for name in group if name in installed]
            if len(kept) == 1 and kept[0] in found and package not in found[kept[0]]:
                found[kept[0]].append(package)
    return found


def uses():
    """What makes a server needed on this host itself, as words."""
    words = set()
    nss = ' '.join(re.findall(r'^(?:passwd|group|shadow):([^#\n]*)', read('/etc/nsswitch.conf'), re.M)).split()
    words |= {'nss ' + word for word in ('ldap', 'sss', 'nis', 'compat') if word in nss}
    for name in re.findall(r'^nameserver\s+(\S+)', read('/etc/resolv.conf'), re.M):
        with contextlib.suppress(ValueError):
            if loopback(name.partition('%')[0]) and name != '127.0.0.53':
                words.add('resolver')
    mounts = [line.split() for line in read('/proc/mounts').splitlines()]
    if any(len(words) > 2 and words[2] in ('nfs', 'nfs4') for words in mounts) or re.search(
            r'^\s*[^#\s]\S*\s+\S+\s+nfs4?\s', read('/etc/fstab'), re.M):
        words.add('nfs mounts')
    automounts = [line[1] for line in mounts if len(line) > 2 and line[2] == 'autofs' and line[0] != 'systemd-1']
    if any(line[1].startswith(place + '/') for line in mounts if len(line) > 1 for place in automounts):
        words.add('automounts')
    if 'dovecot' in read('/etc/postfix/main.cf') + read('/etc/exim4/exim4.conf.template'):
        words.add('mail server')
    return sorted(words)


def facts_of(path):
    """Kind, mode, owner and group of a path; empty where there is none."""
    try:
        info = os.lstat(path)
    except OSError:
        return {}
    kind = {stat.S_IFREG: 'file', stat.S_IFDIR: 'directory'}.get(stat.S_IFMT(info.st_mode), 'other')
    return dict(kind=kind, mode=f'{stat.S_IMODE(info.st_mode):04o}', uid=info.st_uid, gid=info.st_gid)


def group_of(path, setgid):
    """The group as which the program runs, which has to read its list; root where it runs as its caller."""
    try:
        info = os.stat(path)
        return grp.getgrgid(info.st_gid).gr_name if info.st_mode & setgid else 'root'
    except (OSError, KeyError):
        return 'root'


def account(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ''


def list_of(name, program, jobs):
    """Who may use cron or at: whether it is there, its lists, and who has jobs."""
    path = f'/etc/{name}.allow'
    known = {entry.pw_name for entry in pwd.getpwall()}
    return dict(installed=os.path.exists(program), group=group_of(program, stat.S_ISGID), facts=facts_of(path),
                text=read(path), denied=read(f'/etc/{name}.deny').split(), users=sorted(set(jobs) & known),
                known=sorted(set(read(path).split()) & known))


def jobs_of_at():
    """Who has jobs waiting."""
    found = set()
    for path in glob.glob('/var/spool/cron/atjobs/*'):
        with contextlib.suppress(OSError):
            if not os.path.basename(path).startswith('.'):
                found.add(account(os.stat(path).st_uid))
    return found


def filters(pid):
    """How many system call filters a process has; None where the kernel does not tell."""
    found = re.search(r'^Seccomp_filters:\s*(\d+)', read(f'/proc/{pid}/status'), re.M)
    return int(found.group(1)) if found else None


def sandbox(shown):
    """The units that get a sandbox and are there: {unit: {pid, text, live, set}}."""
    found = {}
    for unit in SANDBOXED:
        facts = shown.get(unit, {})
        if facts.get('LoadState') != 'loaded':
            continue
        ours, chosen = f'{UNITS}/{unit}.d/{SANDBOX}', {}
        places = (f'{UNITS}/service.d/*.conf', f'{UNITS}/{unit}', f'/run/systemd/system/{unit}.d/*.conf',
                  f'{UNITS}/{unit}.d/*.conf')
        for path in [path for place in places for path in sorted(glob.glob(place))]:
            if path != ours:
                chosen.update((key, path) for key in re.findall(r'^\s*(\w+)\s*=', read(path), re.M))
        pid = facts.get('MainPID', '0')
        more = filters(pid) if pid != '0' else None
        found[unit] = dict(
            pid=int(pid), text=read(ours), set=chosen,
            live=facts.get('NeedDaemonReload') != 'yes' and (more is None or more > (filters(1) or 0)))
    return found


def web(run):
    """What nginx's configuration says of places that a sandbox would hide."""
    rc, out, err = run(['nginx', '-T', '-q'])
    text = re.sub(r'^\s*#.*', '', out, flags=re.M)
    return dict(valid=rc == 0, error=err.strip().splitlines()[-1:] if rc else [],
                tmp=bool(re.search(r'[\s:"\'](?:/var)?/tmp/', text)),
                home=bool(re.search(r'[\s:"\'](?:/home|/root|/run/user)/', text)),
                devices=bool(re.search(r'ssl_engine|engine:|[\s"\']/dev/(?!null|shm|log|std|u?random)', text)))


def collect(run):
    """The survey's `services`. `run(argv)` gives (rc, stdout, stderr).

    Returns::

        listening: [{proto, address, port, process, unit, loopback}]
        established: [local ports of TCP connections]
        servers: {unit: {active, enabled, masked, own, users}} of those that few hosts need
        masked: [units that we masked]
        packages: {candidate for a purge: [what depends on it]}
        uses: [why this host itself needs a server]
        cron: {path: {kind, mode, uid, gid}}
        lists: {cron, at: {installed, group, facts, text, denied, users, known}}
        sandbox: {unit: {pid, text, live, set}}, and `capable`, whether PID 1 may sandbox without side effects
        nginx: {valid, error, tmp, home, devices}, and `pam`, whether MariaDB asks PAM
    """
    waiting, established = sockets()
    masked = [line for line in read(MASKED).splitlines() if line and not line.startswith('#')]
    capabilities = re.search(r'^CapEff:\s*(\w+)', read('/proc/1/status'), re.M)
    names = [unit for entry in SERVERS.values() for unit in entry[0].split()]
    shown = show(run, there(dict.fromkeys([*names, *SANDBOXED])), 'LoadState', 'ActiveState', 'UnitFileState',
                 'MainPID', 'NeedDaemonReload', 'RequiredBy', 'BoundBy')
    boxes = sandbox(shown)
    crontabs = [os.path.basename(path) for path in glob.glob('/var/spool/cron/crontabs/*')]
    return dict(
        listening=listening(run, waiting), established=sorted(established), servers=servers(run, shown, masked),
        masked=masked, packages=packages(), uses=uses(),
        cron={path: facts for path, facts in ((path, facts_of(path)) for path in CRON_PATHS) if facts},
        lists=dict(cron=list_of('cron', '/usr/bin/crontab', crontabs), at=list_of('at', '/usr/bin/at', jobs_of_at())),
        sandbox=boxes, capable=bool(capabilities and int(capabilities.group(1), 16) >> SYS_ADMIN & 1),
        nginx=web(run) if 'nginx.service' in boxes else {},
        pam=b'auth_pam' in b''.join(raw(path) for path in ['/var/lib/mysql/mysql/plugin.MAD', *glob.glob(
            '/etc/mysql/**/*.cnf', recursive=True)]),
    )


def raw(path):
    try:
        with open(path, 'rb') as handle:
            return handle.read()
    except OSError:
        return b''
