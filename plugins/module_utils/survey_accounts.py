# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight and the roles have to know of a host's accounts. Reads only; returns no password, no hash, no key."""
from __future__ import annotations

import os
import socket

from ansible_collections.rampart.hardening.plugins.module_utils.account_db import Host, read
from ansible_collections.rampart.hardening.plugins.module_utils.sudoers import Sudoers


def collect(run, login_group='ssh-login', root='/'):
    """The accounts of this host. `run` is (argv) -> (rc, stdout, stderr).

    Returns::

        logins: [{name, uid, gid, home, shell, groups: [name],
                  password: set|locked|empty|none,
                  expired: bool,
                  keys: how many public keys sshd would find, key_files: [path, where it looks],
                  ssh: key|match|outside|'' (how it can log in over SSH without a password),
                  sudo: none|some|password|nopasswd (the last two: anything as root),
                  cloud: bool (the account cloud-init made), match: bool (a Match block of sshd names it)}]
                 every account with uid 0 or of a person, and every other that has a password, keys, or rights in sudo
        uid0: [name]
        login_group: {name, exists: bool, members: [name]}
        groups: {name: [member]} of the local groups that have any (an account's own group lists nobody)
        authorized_keys_files: [pattern] as sshd has it; empty where it reads none
        keys_from: TrustedUserCAKeys | AuthorizedKeysCommand | '' (where else sshd takes keys from)
        directory: [source] (sss, ldap, …) from which accounts come beside the files
        sudo: bool, whether sudo is installed
    """
    host = Host(root, run)

    def names(path):
        try:
            return os.listdir(host.real(path))
        except OSError:
            return []

    sudoers = Sudoers(lambda path: read(root, path), names, socket.gethostname())
    cloud, logins = host.cloud_user(), []
    for name in host.names():
        groups = host.groups(name)
        level = sudoers.rights(dict(name=name, uid=host.uid(name), groups=groups,
                                    gids=[row[2] for row in host.group if row[0] in groups]))[0]
        # sshd is asked about each account only where a Match block may make a difference
        if not (host.uid(name) == 0 or host.human(name) or host.password(name) in ('set', 'empty') or level != 'none'
                or host.keys(name)):
            continue
        row = host.passwd.get(name)
        logins.append(dict(
            name=name, uid=host.uid(name), gid=host.gid(name), home=row[5], shell=row[6], groups=groups,
            password=host.password(name), expired=host.expired(name), keys=host.keys(name),
            key_files=host.key_files(name), ssh=host.ssh_login(name), sudo=level, cloud=name == cloud,
            match=host.matched(name)))
    group = host.group.get(login_group)
    patterns = host.setting('root', 'authorizedkeysfile').split()
    members = {row[0]: [one for one in row[3].split(',') if one] for row in host.group}
    return dict(
        logins=logins, uid0=[name for name in host.names() if host.uid(name) == 0],
        login_group=dict(name=login_group, exists=group is not None,
                         members=members.get(login_group, [])),
        groups={name: names for name, names in members.items() if names},
        authorized_keys_files=[one for one in patterns if one != 'none'], keys_from=host.outside_keys('root'),
        directory=host.directory(), sudo=any(host.lstat(path) for path in ('/usr/sbin/visudo', '/sbin/visudo')))
