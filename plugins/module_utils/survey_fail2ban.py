# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role bastion has to know of fail2ban on this host, and what the site has set in it. Reads only."""
from __future__ import annotations

import configparser
import glob
import os

DIRECTORY = '/etc/fail2ban'
OUR_JAIL = DIRECTORY + '/jail.d/rampart.local'
# Values that are told. What is done to an address may name a password
TOLD = ('enabled', 'port', 'filter', 'mode', 'maxretry', 'findtime', 'bantime', 'bantime.increment', 'bantime.maxtime',
        'ignoreip')
SHIPPED = ('jail.conf', 'jail.d/defaults-debian.conf')
PROGRAMS = {
    'fail2ban': '/usr/bin/fail2ban-server',
    'iptables': '/usr/sbin/iptables',
    'netbase': '/etc/services',  # without it no port has a name
    'python3-systemd': '/usr/lib/python3/dist-packages/systemd/journal.py',
}


def sections(path):
    """{section: {key: value}} of one file, nothing worked out; none where fail2ban could not read it either."""
    parser = configparser.RawConfigParser(strict=False, default_section='', inline_comment_prefixes=';')
    try:
        parser.read(path, encoding='utf-8')
    except (configparser.Error, OSError, ValueError):
        return {}
    return {name: dict(parser.items(name)) for name in parser.sections()}


def jail(directory=DIRECTORY, name='sshd'):
    """(what a jail is set to, {key: file} of the site's own settings); with the defaults, without our file."""
    patterns = ('jail.conf', 'jail.d/*.conf', 'jail.local', 'jail.d/*.local')
    files = [path for pattern in patterns for path in sorted(glob.glob(os.path.join(directory, pattern)))]
    read = {path: sections(path) for path in files if not path.endswith(os.path.basename(OUR_JAIL))}
    settings, own = {}, {}
    for section in ('DEFAULT', name):
        for path, found in read.items():
            settings.update(found.get(section, {}))
            if os.path.relpath(path, directory) not in SHIPPED:
                own.update(dict.fromkeys(found.get(section, {}), path))
    return {key: settings[key] for key in TOLD if key in settings}, own


def collect(run):
    """The survey's `fail2ban`.

    Returns::

        installed: [name] of PROGRAMS
        running, enabled: bool, its service; ours: bool, whether our file is there
        settings: {key: value} of TOLD that the jail sshd has without our file
        own: {key: file} of its settings that are neither fail2ban's nor Debian's
    """
    settings, own = jail()
    installed = [name for name, path in PROGRAMS.items() if os.path.exists(path)]
    state = ''
    if 'fail2ban' in installed:
        state = run(['systemctl', 'show', 'fail2ban.service', '--property=ActiveState,UnitFileState'])[1]
    return dict(
        installed=installed, running='ActiveState=active' in state, enabled='UnitFileState=enabled' in state,
        ours=os.path.exists(OUR_JAIL), settings=settings, own=own)
