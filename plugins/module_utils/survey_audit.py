# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the audit role has to know of a host: its kernel's audit, its loggers and its clock. Reads only."""
from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import socket
import stat
import struct

from ansible_collections.rampart.hardening.plugins.module_utils.sudoers import Sudoers

NETLINK_AUDIT, AUDIT_GET, NLMSG_ERROR, NLM_F_REQUEST, NLM_F_ACK = 9, 1000, 2, 1, 4
AUDITD_CONF = '/etc/audit/auditd.conf'
RULES = '/etc/audit/rules.d'
OUR_RULES = RULES + '/50-rampart.rules'
OUR_LOCK = RULES + '/zz-rampart-lock.rules'
JOURNALD = 'systemd/journald.conf'
PLACES = ('/usr/lib', '/usr/local/lib', '/run', '/etc')
OUR_JOURNALD = '/etc/systemd/journald.conf.d/zz-rampart.conf'
OUR_RSYSLOG = '/etc/rsyslog.d/00-rampart.conf'
DEBSUMS = '/etc/default/debsums'
PROGRAMS = {
    'auditd': '/usr/sbin/auditd', 'chrony': '/usr/sbin/chronyd',
    'systemd-timesyncd': '/usr/lib/systemd/systemd-timesyncd',
    'ntpsec': '/usr/sbin/ntpd', 'openntpd': '/usr/sbin/openntpd', 'rsyslog': '/usr/sbin/rsyslogd',
    'rsyslog-gnutls': '/usr/lib/*/rsyslog/lmnsd_gtls.so', 'rsyslog-openssl': '/usr/lib/*/rsyslog/lmnsd_ossl.so',
    'aide': '/usr/bin/aide', 'syslog-ng': '/usr/sbin/syslog-ng', 'debsums': '/usr/bin/debsums',
    'cron': '/usr/lib/systemd/system/*cron*.service',  # or anacron, cronie, systemd-cron
}
SIGNS = {'/etc/network': '/etc/network/interfaces'}  # chrony and others have hooks in the directory, unasked
KEEPERS = ('chrony', 'systemd-timesyncd', 'ntpsec', 'openntpd')
CLOCK_USERS = ('_chrony', 'systemd-timesync', 'ntpsec', 'ntpd')
# Where setuid programs are: (directory, how deep). Those elsewhere are seen by the rule on changed user ids.
BINARIES = (('/usr/bin', 0), ('/usr/sbin', 0), ('/bin', 0), ('/sbin', 0), ('/usr/local/bin', 0), ('/usr/local/sbin', 0),
            ('/usr/libexec', 2), ('/usr/lib', 1), ('/usr/lib/*/utempter', 0), ('/usr/local/lib', 1), ('/opt', 2))


def text(path):
    """The content of the file `path`; empty where there is none."""
    try:
        with open(path, encoding='utf-8', errors='replace') as handle:
            return handle.read()
    except OSError:
        return ''


def kernel():
    """What the kernel says of its audit: {enabled, failure, backlog_limit, lost}; None where it gives us none.

    A container is refused, whatever it has installed.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as link:
            link.settimeout(1)
            link.send(struct.pack('=IHHII', 16, AUDIT_GET, NLM_F_REQUEST | NLM_F_ACK, 1, 0))
            for _answer in range(3):
                data = link.recv(8192)
                kind = struct.unpack_from('=H', data, 4)[0]
                if kind == NLMSG_ERROR and struct.unpack_from('=i', data, 16)[0]:
                    return None
                if kind == AUDIT_GET:
                    words = struct.unpack_from('=8I', data, 16)
                    return dict(enabled=words[1], failure=words[2], backlog_limit=words[5], lost=words[6])
    except (OSError, struct.error):
        pass
    return None


def setuid(directory, depth):
    """The setuid and setgid programs below `directory`."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.is_symlink() or depth == 0 and entry.is_dir():
            continue
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(info.st_mode) and info.st_mode & 0o111 and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
            yield entry.path
        elif depth and stat.S_ISDIR(info.st_mode):
            yield from setuid(entry.path, depth - 1)


def privileged():
    """The host's setuid and setgid programs, each under one name.

    Not the one of libpam-tmpdir: PAM calls it for every session, and login_policy brings it after this was asked.
    """
    found = []
    for pattern, depth in BINARIES:
        for directory in glob.glob(pattern):
            if not os.path.islink(directory):
                found += setuid(directory, depth)
    return sorted(path for path in found if not re.search(r'\s|/pam-tmpdir-helper$', path))


def assignments(content):
    """(number of the line, key, value) of the lines `key = value`, comments left out."""
    for number, line in enumerate(content.splitlines(), 1):
        key, equals, value = line.partition('=')
        if equals and key.strip()[:1] not in ('#', ';', ''):
            yield number, key.strip(), value.strip()


def dropins(name):
    """The files of which systemd makes the configuration `name`, in its order."""
    main = next((found for place in reversed(PLACES) for found in [f'{place}/{name}'] if os.path.exists(found)), None)
    later = {os.path.basename(path): path for place in PLACES for path in sorted(glob.glob(f'{place}/{name}.d/*.conf'))}
    return ([main] if main else []) + [later[base] for base in sorted(later)]


def journald():
    """{key: {value, file, line}}, the settings of journald that the site's own files come to."""
    found = {}
    for path in [one for one in dropins(JOURNALD) if one != OUR_JOURNALD]:
        for number, key, value in assignments(text(path)):
            found[key] = dict(value=value, file=path, line=number)
    return found


def sudo_log():
    """The file to which sudo logs, or that of the role admin_accounts, which sets it."""
    def names(directory):
        return os.listdir(directory) if os.path.isdir(directory) else []

    found = '/var/log/sudo.log'
    for dummy, line in Sudoers(lambda path: text(path) if os.path.isfile(path) else None, names,
                               socket.gethostname()).order:
        mark, dummy, settings = line.value if line.kind == 'defaults' else ('', '', [])
        for setting in settings:
            match = re.match(r'logfile\s*=\s*"?(/[\w./-]+)"?$', setting)
            if match and not mark:
                found = match.group(1)
    return found


def rsyslog():
    """{modes: [{file, line, mode}] with which the site's files have logs made, modules: [name] that they load}."""
    modes, modules = [], set()
    for path in ['/etc/rsyslog.conf'] + sorted(glob.glob('/etc/rsyslog.d/*.conf')):
        for number, line in enumerate([] if path == OUR_RSYSLOG else text(path).splitlines(), 1):
            line = line.partition('#')[0]
            for match in re.finditer(r'(?i)(?:^\s*\$FileCreateMode\s+|\bfileCreateMode\s*=\s*")(0?[0-7]{3,4})', line):
                modes.append(dict(file=path, line=number, mode=match.group(1)))
            modules |= set(re.findall(r'(?i)(?:\$ModLoad\s+|\bmodule\s*\(\s*load\s*=\s*")(im\w+)', line))
    return dict(modes=modes, modules=sorted(modules))


def debsums():
    """{check: how often the job of the package debsums compares, ours: whether this role said so, timer: whether ours
    starts it}."""
    found = text(DEBSUMS)
    said = re.findall(r'(?m)^\s*(?:export\s+)?CRON_CHECK=["\']?(\w*)', found)
    return dict(check=said[-1] if said else '', ours='rampart.hardening' in found,
                timer=os.path.exists('/etc/systemd/system/rampart-debsums.timer'))


def smallest_uid():
    """The first user id of people (login.defs)."""
    match = re.search(r'(?m)^\s*UID_MIN\s+(\d+)', text('/etc/login.defs'))
    return int(match.group(1)) if match else 1000


def clock_users():
    """The accounts under which programs keep the clock."""
    found = []
    for name in CLOCK_USERS:
        with contextlib.suppress(KeyError):
            found.append(pwd.getpwnam(name).pw_name)
    return found


def collect(run):
    """The survey's `audit`.

    Returns::

        kernel: {enabled, failure, backlog_limit, lost}, or None where the kernel gives this host no audit
        machine: as uname has it
        installed: [name] of PROGRAMS
        running: [name] of those that keep the clock and run
        privileged: [path] of setuid and setgid programs
        exists: [path] of what rules may watch
        uid_min: the first user id of people
        auditd: {key: value} of auditd.conf
        clock_users: [name] of accounts under which programs keep the clock
        journald: {key: {value, file, line}}
        sudo_log: path
        rsyslog: {modes: [{file, line, mode}], modules: [name]}
        aide: bool, whether the site has a database of its own
        debsums: {check: daily, weekly, monthly, never or empty, ours: bool, timer: bool}
    """
    installed = [name for name, path in PROGRAMS.items() if glob.glob(path)]
    keepers = [name for name in KEEPERS if name in installed]
    states = run(['systemctl', 'is-active', *keepers])[1].split() if keepers else []
    watched = ('/etc/netplan', '/etc/network', '/etc/NetworkManager', '/etc/systemd/network', '/etc/apparmor',
               '/etc/apparmor.d', '/etc/selinux', '/etc/pam.conf', '/usr/bin/chcon', '/usr/bin/setfacl',
               '/usr/bin/chacl', '/usr/sbin/usermod', '/usr/bin/kmod', '/etc/security')
    return dict(
        kernel=kernel(), machine=os.uname().machine, installed=installed,
        running=[name for name, state in zip(keepers, states) if state == 'active'],
        privileged=privileged(), exists=[path for path in watched if os.path.exists(SIGNS.get(path, path))],
        uid_min=smallest_uid(),
        auditd={key: value for dummy, key, value in assignments(text(AUDITD_CONF))}, clock_users=clock_users(),
        journald=journald(), sudo_log=sudo_log(), rsyslog=rsyslog(), debsums=debsums(),
        aide=any(os.path.exists(f'/var/lib/aide/aide.db{end}') for end in ('', '.gz')))
