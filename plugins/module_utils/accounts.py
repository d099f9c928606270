# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans a host's accounts: reads it, and says what its files shall hold. Changes nothing itself; stdlib only."""
from __future__ import annotations

import glob
import grp
import os
import pwd
import re
import shlex
import socket
import stat
import sys

from ansible_collections.rampart.hardening.plugins.module_utils.account_db import HASH, KEY, Host
from ansible_collections.rampart.hardening.plugins.module_utils.sudoers import Sudoers

DROP_IN = '/etc/sudoers.d/rampart'
ADOPTED = '/etc/rampart/adopted_logins'
FIRST_TIME = '/usr/local/sbin/rampart-first-password'
ALARM = '/usr/local/sbin/rampart-alarm'
PAM_MARK = '# rampart.hardening: '
# Whoever is in one of these is root by another way, or reads what only root should.
ANYTHING = ('password', 'nopasswd')
POWERFUL = ('root', 'sudo', 'wheel', 'admin', 'adm', 'docker', 'lxd', 'incus', 'incus-admin', 'libvirt',
            'disk', 'shadow')
CRONTABS = ('/var/spool/cron/crontabs/', '/var/spool/cron/tabs/', '/var/spool/cron/')
AT_JOBS = ('/var/spool/cron/atjobs', '/var/spool/at', '/var/spool/atjobs')

ADOPTED_TEXT = """# Accounts that could log in over SSH before rampart.hardening came, and go on doing so. Written once;
# take a name out to end that, or declare it in the inventory (admin_accounts_logins).
"""

FIRST_TIME_TEXT = """#!/bin/sh
# Lets an administrator who has no password yet set the first one. sudo asks for it from then on.
set -eu
name=${SUDO_USER:?run this with sudo}
case $(getent shadow "$name" | cut -d: -f2) in
  '*' | '!' | '!!' | '!*') exec passwd "$name" ;;
esac
echo "$name has a password already: change it with passwd" >&2
exit 1
"""

# Runs at every console login and su; says nothing unless it is the sealed account, and never stands in the way.
ALARM_TEXT = """#!/bin/sh
# PAM runs this when somebody opens a session: the use of the sealed account is told to everybody.
[ "${PAM_TYPE-}" = open_session ] && [ "${PAM_USER-}" = %(name)s ] || exit 0
export text="Sealed account $PAM_USER in use: ${PAM_SERVICE-} on ${PAM_TTY-} ${PAM_RHOST-}"
(
  logger -p authpriv.alert -t rampart "$text"
  wall "$text"
  %(command)s
) </dev/null >/dev/null 2>&1 &
exit 0
"""

# Alone: our drop-in is not there yet where the main file comes to include it
CHECK_SUDOERS = f'grep -vxF "#include {DROP_IN}" "$1" | visudo -c -f -'

# As the account itself: root follows no link there. What people make of the files is theirs, no part of the change.
SKELETON = 'setpriv --reuid="$1" --regid="$2" --clear-groups cp -rnT /etc/skel "$3" || true'

# Ends what disabled accounts run, or (check) says by its status whether something is left. What a systemd
# service runs under such an account is the site's and stays. Processes of an extra uid 0 are known by name alone.
END_SESSIONS = r"""
import glob, os, re, signal, sys, time
mode, names, uids = sys.argv[1], sys.argv[2].split(","), set(sys.argv[3].split(","))
login = re.compile(r"(sshd(-session)?: |\S*login -- )(%s)(@| \[priv\]| *$)" % "|".join(map(re.escape, names)))
mine, pid = set(), os.getpid()
while pid > 1:
    mine.add(pid)
    with open("/proc/%d/status" % pid) as handle:
        pid = int(re.search(r"PPid:\s*(\d+)", handle.read()).group(1))
def read(path):
    with open(path, errors="replace") as handle:
        return handle.read()
def left():
    found = []
    for path in glob.glob("/proc/[0-9]*"):
        try:
            status = read(path + "/status")
            owner = set(re.search(r"Uid:\s*(.*)", status).group(1).split()) & uids
            if not owner and os.path.exists(path + "/loginuid"):
                owner = {read(path + "/loginuid").strip()} & uids
            service = re.search(r"/system\.slice/(?:.*/)?([^/\n]+\.service)", read(path + "/cgroup"))
            if service and not re.match(r"(sshd?|crond?|atd|.*getty)[@.-]", service.group(1)):
                continue
            if not owner and not login.match(read(path + "/cmdline").replace("\0", " ")):
                continue
            if re.search(r"State:\s*[ZX]", status) is None and int(os.path.basename(path)) not in mine:
                found.append(int(os.path.basename(path)))
        except (OSError, AttributeError):
            pass
    return found
for attempt in range(50 if mode == "end" else 0):
    for pid in left():
        try:
            os.kill(pid, signal.SIGTERM if attempt == 0 else signal.SIGHUP if attempt == 1 else signal.SIGKILL)
        except OSError:
            pass
    if not left():
        break
    time.sleep(0.1)
sys.exit(1 if left() else 0)
"""


def plan(params, root='/', run=None, hostname='localhost', today=None, known=None):
    """The arguments for transact(): files, validate, active, activate, revert, refuse, extra_result.

    `params` are the module's. `known` is the name service beyond the files: (kind, name or id) -> entry or None.
    """
    return Planner(params, Host(root, run, today), hostname, known or (lambda kind, key: None)).plan()


def name_service(kind, key):
    """`known` for the live host: what getent would say."""
    lookup = {('user', str): pwd.getpwnam, ('user', int): pwd.getpwuid,
              ('group', str): grp.getgrnam, ('group', int): grp.getgrgid}[kind, type(key)]
    try:
        return lookup(key)
    except KeyError:
        return None


class Planner:
    def __init__(self, params, host, hostname, known):
        self.params, self.host, self.hostname, self.known = params, host, hostname, known
        self.controls = set(params['controls'])
        self.files, self.refused, self.notes, self.actions = {}, [], [], []
        self.admins = {one['name']: one for one in params['admins'] if one['state'] == 'present'}
        self.automation = params.get('automation') or {}
        self.sealed = params.get('break_glass') or {}
        self.declared = dict(self.admins)
        for one in (self.automation, self.sealed):
            if one:
                self.declared[one['name']] = one
        self.cloud, self.disabled, self.ids, self.alone = host.cloud_user(), set(), {}, set()
        # without our own drop-in: it is written anew, and what it gave before does not count
        self.sudoers = Sudoers(lambda path: None if path == DROP_IN else host.read(path), self.list_dir, hostname)
        self.fresh = []  # (uid, gid, home) of homes to be made

    def on(self, control):
        return 'accounts.' + control in self.controls

    def list_dir(self, path):
        try:
            return os.listdir(self.host.real(path))
        except OSError:
            return []

    def act(self, text):
        if text not in self.actions:
            self.actions.append(text)

    # --- the files of the result

    def put(self, path, content, mode=None, owner=None, group=None, **more):
        """`content` for `path`; owner and mode as they are, where they are not given and the file is there."""
        info = self.host.lstat(path)
        now = (info.st_uid, info.st_gid, f'{stat.S_IMODE(info.st_mode):04o}') if info else (0, 0, '0644')
        self.files[path] = dict(path=path, content=content, owner=now[0] if owner is None else owner,
                                group=now[1] if group is None else group, mode=mode or now[2], state='file', **more)

    def directory(self, path, mode, owner=0, group=0):
        self.files.setdefault(path, dict(path=path, state='directory', mode=mode, owner=owner, group=group))

    def absent(self, path, **more):
        if self.host.lstat(path):
            self.files[path] = dict(path=path, state='absent', **more)

    # --- who is who

    def plan(self):
        host = self.host
        self.check_wishes()
        if self.on('databases'):
            self.databases()
        disabled = self.to_disable()
        adopted = [name for name in self.logins(disabled) if name not in disabled]
        self.disabled = set(disabled)
        self.ids = {name: host.uid(name) for name in disabled}
        self.alone = {name for name in disabled if host.uid(name) > 0 and not self.others(name)}
        if not self.refused:
            for name, reason in disabled.items():
                self.disable(name, reason)
            self.lock_passwords()
            if self.on('root_keys'):
                self.root_keys()
            self.people(disabled)
            self.login_group(adopted)
            self.system_shells()
            self.remove(disabled)
            self.sudo(disabled)
            self.console()
        for table in (host.passwd, host.shadow, host.group, host.gshadow, host.subuid, host.subgid):
            if table.before is not None and table.text != table.before:
                self.put(table.path, table.text, sensitive='shadow' in table.path)
        ended = self.sessions(disabled)
        order = sorted(self.files.values(), key=lambda one: one['state'] != 'directory')
        caches = [['nscd', '--invalidate=' + kind] for kind in ('passwd', 'group') if host.lstat('/run/nscd/socket')]
        skeletons = [['sh', '-c', SKELETON, 'sh', *map(str, home)] for home in self.fresh]
        return dict(
            files=order, refuse=self.refused, validate=[['visudo', '-c', '-f', '/etc/sudoers']] if any(
                path.startswith('/etc/sudoers') for path in self.files) else [],
            active=[argv + ['check'] + rest for argv, rest in ended],
            activate=caches + skeletons + [argv + ['end'] + rest for argv, rest in ended], revert=caches,
            extra_result=dict(actions=self.actions, adopted=adopted, notes=self.notes))

    def databases(self):
        """Name what does not fit in the account databases: only people know which of two is right."""
        host, found = self.host, []
        for what, table, column in (('the uid', host.passwd, 2), ('the account', host.passwd, 0),
                                    ('the gid', host.group, 2), ('the group', host.group, 0)):
            words = [row[column] for row in table if what != 'the uid' or row[2] != '0']  # that is accounts.uid0
            found += [f'{what} {word} is there twice' for word in dict.fromkeys(words) if words.count(word) > 1]
        known = {row[2]: row[0] for row in host.group}
        found += [f'the group {row[0]} has the gid of root' for row in host.group if row[2] == '0' and row[0] != 'root']
        for name, secret, uid, gid, home in ([*row[:4], row[5]] for row in host.passwd):
            if gid not in known and not (gid.isdigit() and self.known('group', int(gid))):
                found.append(f'the group {gid} of {name} does not exist')
            if secret[:1] not in ('x', '*', '!', ''):
                found.append(f'the password of {name} is in /etc/passwd, which everybody reads')
            if gid == '0' and uid != '0' and name not in ('sync', 'shutdown', 'halt', 'operator'):
                found.append(f'{name} is in the group of root')
            if known.get(gid) == 'shadow':
                found.append(f'{name} is in the group shadow')
            if host.human(name) and host.has_shell(name) and not host.lstat(home):
                found.append(f'the home of {name} does not exist')
        members = host.group.get('shadow')
        found += [f'{name} is in the group shadow' for name in (members[3].split(',') if members else ()) if name]
        found += [f'the password of {row[0]} was changed in the future' for row in host.shadow
                  if row[2].isdigit() and int(row[2]) > host.today]
        self.notes += found

    def check_wishes(self):
        """Refuse what the inventory cannot have meant."""
        names = [one['name'] for one in self.params['admins']] + [
            one['name'] for one in (self.automation, self.sealed) if one]
        for name in names:
            if not re.match(r'[A-Za-z_][A-Za-z0-9_.@-]{0,63}$', name):
                self.refused.append(f'{name!r} is not a name that an account can have')
            if name == 'root' or self.host.passwd.get(name) and self.host.uid(name) == 0:
                self.refused.append(f'{name} is root (uid 0): name an account of its own in hardening_admins, '
                                    'hardening_automation or hardening_break_glass')
        if len(set(names)) < len(names) and self.on('admins'):
            for name in sorted({name for name in names if names.count(name) > 1}):
                if not (name in self.admins and name == self.automation.get('name')
                        and names.count(name) == 2 and name != self.sealed.get('name')):
                    self.refused.append(f'{name} is declared twice among hardening_admins, hardening_automation and '
                                        'hardening_break_glass')
        for name, one in self.declared.items():
            if one.get('password_hash') and (not HASH.match(one['password_hash'])
                                             or re.search(r'[:\s]', one['password_hash'])):
                self.refused.append(f'the password_hash of {name} is not a hash: make one with mkpasswd')
            for key in one.get('ssh_keys') or ():
                if not KEY.search(key) or '\n' in key.strip() or 'PRIVATE' in key:
                    self.refused.append(f'an entry of the ssh_keys of {name} is not one line with a public key')
            if self.host.passwd.get(name) and 0 < self.host.uid(name) < self.host.uid_min \
                    and not self.host.has_shell(name):
                self.refused.append(f'{name} is a system account of this host: choose another name')

    def to_disable(self):
        """{name: reason} of the accounts that lose everything, as the host is now."""
        host, params, found = self.host, self.params, {}
        listed = dict.fromkeys(params['disabled'], 'listed in admin_accounts_disabled')
        listed.update((name, 'listed in admin_accounts_removed') for name in params['removed'])
        listed.update((one['name'], 'absent in hardening_admins')
                      for one in params['admins'] if one['state'] != 'present')
        for name in listed:
            if name in self.declared or name in params['logins']:
                self.refused.append(f'{name} is to be disabled and declared at once: take it out of one of the lists')
            if name == 'root':
                self.refused.append('root is locked, never disabled: take it out of admin_accounts_disabled')
        for name in host.names():
            if name in self.declared or name == 'root':
                continue
            usable = host.has_shell(name) and (host.password(name) in ('set', 'empty') or host.keys(name))
            kept = name in params['logins'] or name == self.cloud
            if name in listed:
                found[name] = listed[name]
            elif host.uid(name) == 0 and self.on('uid0'):
                found[name] = 'a second account with uid 0'
            elif self.on('leftover') and name in params['leftover'] and not kept and (
                    host.human(name) or host.uid(name) == 0 or usable):
                found[name] = 'leftover account'
            elif self.on('empty_passwords') and host.password(name) == 'empty' and host.human(name) and not (
                    kept or host.ssh_login(name)):
                found[name] = 'empty password and no other way in'
        if params['connection_user'] in found:
            self.refused.append('{} is the account this run connects as, and it would be disabled ({}): connect as '
                                'hardening_automation'.format(params['connection_user'],
                                                              found[params['connection_user']]))
        return found

    def logins(self, disabled):
        """The accounts beside the declared ones that go on logging in over SSH; notes the others."""
        host, params = self.host, self.params
        group = host.group.get(params['login_group'])
        could = [name for name in host.names() if name not in self.declared and name not in disabled
                 and host.uid(name) != 0 and host.ssh_login(name)]
        record = host.read(ADOPTED)
        if record is None:
            adopted = could + [name for name in (group[3].split(',') if group else ()) if not host.passwd.get(name)]
        else:  # adopted once: whoever got a key since has to be declared
            adopted = [line.strip() for line in record.splitlines() if line.strip() and not line.startswith('#')]
        adopted = [name for name in dict.fromkeys(adopted + params['logins']) if name not in self.declared
                   and name != 'root' and (host.passwd.get(name) or self.known('user', name))]
        for name in host.names():
            if name in could and name not in adopted:
                self.notes.append(f'{name} has keys but may not log in over SSH: to let it, add it to '
                                  'admin_accounts_logins')
            elif (record is None and name not in could and name not in self.declared and name not in disabled
                    and host.human(name) and host.has_shell(name) and host.password(name) == 'set'):
                self.notes.append(f'{name} has a password and no key: it is not among those who may log in over SSH')
        outside = host.directory()
        if (self.on('login_group') and outside and not params['logins'] and host.outside_keys('nobody')
                and (group or not self.known('group', params['login_group']))):
            self.refused.append(
                'accounts from {} may log in here and cannot be listed by this host: name those who shall in '
                'admin_accounts_logins, or set hardening_login_group to a group of that directory'.format(
                    ', '.join(outside)))
        return adopted

    # --- disabling

    def set_secret(self, name, secret):
        """Write the password field where it counts; what stood in the passwd file moves to the shadow file."""
        host = self.host
        if host.shadow.before is None:
            for row in host.passwd.all(name):
                row[1] = secret
            return
        for row in host.passwd.all(name):
            row[1] = 'x'
        if not host.shadow.get(name):
            host.shadow.add([name, secret, str(host.today), '', '', '', '', '', ''])
        for row in host.shadow.all(name):
            row[1] = secret

    def lock(self, name):
        """Make the password unusable and keep its hash, so that it can be had back."""
        secret = self.host.secret(name)
        if self.host.password(name) in ('set', 'empty'):
            self.set_secret(name, '!' + secret)
            self.act(f'{name}: password locked')

    def nologin(self):
        return '/usr/sbin/nologin' if self.host.lstat('/usr/sbin/nologin') else '/sbin/nologin'

    def others(self, name):
        """Names that share the uid of `name` and stay."""
        return [one for one in self.host.names() if one != name and self.host.uid(one) == self.host.uid(name)
                and one not in self.disabled]

    def disable(self, name, reason):
        host = self.host
        before = [list(row) for table in (host.passwd, host.shadow) for row in table.all(name)]
        self.lock(name)
        if host.secret(name) is None:
            self.set_secret(name, '!')
        for row in host.passwd.all(name):
            row[6] = row[6] if os.path.basename(row[6]) in ('nologin', 'false') else self.nologin()
        if host.shadow.before is not None:
            if not host.shadow.get(name):
                self.set_secret(name, '!')
            for row in host.shadow.all(name):
                row[7] = row[7] if host.expired(name) else '1'
        if before != [row for table in (host.passwd, host.shadow) for row in table.all(name)]:
            self.act(f'{name}: disabled ({reason})')
        self.leave_groups(name, self.powerful() + [self.params['login_group']])
        staying = {path for one in host.names() if one not in self.disabled for path in host.key_files(one)}
        for path in host.key_files(name):
            if path not in staying and host.lstat(path):
                self.take_keys(name, path)
        for spool in CRONTABS:
            self.absent_file(spool + name, f'{name}: crontab taken away')
        self.absent_file('/var/lib/systemd/linger/' + name, f'{name}: no services without a login')
        if host.uid(name) > 0 and not self.others(name):
            for spool in AT_JOBS:
                for job in sorted(self.list_dir(spool)):
                    info = host.lstat(f'{spool}/{job}')
                    if info and info.st_uid == host.uid(name):
                        self.absent_file(f'{spool}/{job}', f'{name}: at jobs taken away')
        services = sorted({service for pid, uid, service in host.processes()
                           if service and uid == host.uid(name) and uid != 0})
        if services:
            self.notes.append('{} is disabled, but {} goes on running as it'.format(name, ', '.join(services)))

    def absent_file(self, path, text):
        info = self.host.lstat(path)
        if info and stat.S_ISREG(info.st_mode):
            self.absent(path)
            self.act(text)

    def unsafe(self, name, path):
        """Why root must not touch the file `path` of account `name`; empty where it may."""
        host, home = self.host, self.host.home(name)
        if not path.startswith(home + '/'):
            return '' if host.resolve(path) == path else f'{path} lies behind a link'
        if host.resolve(home) is None:
            return f'{home} lies behind a link that root did not make'
        step = path
        while step != os.path.dirname(home):
            info = host.lstat(step)
            if info and step != home and stat.S_ISLNK(info.st_mode):
                return f'{step} is a link'
            if info and info.st_uid not in host.trusted | {host.uid(name)}:
                return f'{step} belongs to another account'
            if info and step == path and not stat.S_ISREG(info.st_mode):
                return f'{step} is not a file'
            step = os.path.dirname(step)
        return ''

    def take_keys(self, name, path):
        """Take away the file `path`, or the link in the home that leads there: nothing behind one is touched."""
        host, home = self.host, self.host.home(name)
        if path.startswith(home + '/'):
            if host.resolve(home) is None:
                self.notes.append(f'{home} lies behind a link that root did not make: left alone')
                return
            step = home
            for part in path[len(home) + 1:].split('/'):
                step = os.path.join(step, part)
                info = host.lstat(step)
                if info and stat.S_ISLNK(info.st_mode):
                    path = step
                    break
        info = host.lstat(path)
        if stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
            self.absent(path)
            self.act(f'{name}: keys taken away ({path})')

    def powerful(self):
        """The groups that give rights: the usual ones, and whatever sudoers names."""
        named = {user.lstrip('! ').lstrip('%').replace('\\', '').strip('"')
                 for path, line in self.sudoers.lines('rule') for user in line.value.users
                 if user.lstrip('! ')[:1] == '%'}
        return list(dict.fromkeys(list(POWERFUL) + sorted(named)))

    def leave_groups(self, name, groups):
        for table, columns in ((self.host.group, (3,)), (self.host.gshadow, (2, 3))):
            for row in table:
                for column in columns:
                    members = row[column].split(',')
                    if row[0] in groups and name in members:
                        row[column] = ','.join(one for one in members if one != name)
                        self.act(f'{name}: out of group {row[0]}')

    def lock_passwords(self):
        host = self.host
        if self.on('root_locked'):
            self.lock('root')
        if self.on('empty_passwords'):
            for name in host.names():
                if host.password(name) == 'empty' and name not in self.declared:
                    self.lock(name)
            for row in list(host.shadow):  # a shadow line may outlive its account, and serve the next of that name
                if row[1] == '' and not host.passwd.get(row[0]):
                    row[1] = '!'

    def root_keys(self):
        host = self.host
        for path in host.key_files('root'):
            info = host.lstat(path)
            if not info or path in self.files:
                continue
            if host.resolve(os.path.dirname(path)) is None:
                self.refused.append(f'{path} (keys of root) lies behind a link that root did not make')
            elif not KEY.search(host.read(path) or '') and not stat.S_ISLNK(info.st_mode):
                continue
            else:
                self.absent(path)
                self.act(f'root: keys taken away ({path})')

    def remove(self, disabled):
        """Take accounts out of the databases, where the inventory asks for that. Homes stay."""
        host = self.host
        for name in sorted(set(self.params['removed']) & set(disabled)):
            own = host.group.get(name)
            private = own and own[2] == str(host.gid(name)) and own[3] in ('', name) and not any(
                row[3] == own[2] and row[0] != name for row in host.passwd)
            for row in list(host.group):
                self.leave_groups(name, [row[0]])
            for table in (host.passwd, host.shadow, host.subuid, host.subgid):
                table.remove(name)
            if private:
                host.group.remove(name)
                host.gshadow.remove(name)
            self.act(f'{name}: removed')

    def sessions(self, disabled):
        """[(argv, arguments)] of the program that ends sessions."""
        if not disabled or self.refused:
            return []
        uids = [str(self.ids[name]) for name in disabled if name in self.alone]
        return [([sys.executable, '-I', '-c', END_SESSIONS], [','.join(disabled), ','.join(uids) or '-'])]

    # --- the people

    def people(self, disabled):
        if self.on('admins'):
            for name, one in self.admins.items():
                if self.account(one, one.get('password_hash'), enforce=False):
                    keys = one.get('ssh_keys')
                    if name == self.automation.get('name') and self.automation.get('ssh_keys'):
                        keys = (keys or []) + self.automation['ssh_keys']
                    self.write_keys(name, keys, self.on('admin_keys'))
                    for group in one.get('groups') or ():
                        self.join(group, [name])
                    if not one['sudo']:
                        self.leave_groups(name, [g for g in self.powerful() if g not in (one.get('groups') or ())])
        name = self.automation.get('name')
        if name and self.on('automation') and not (name in self.admins and self.on('admins')) and self.account(
                self.automation, '*', enforce=True):
            self.write_keys(name, self.automation.get('ssh_keys'), self.on('admin_keys'))
        name = self.sealed.get('name')
        if name and self.on('break_glass') and self.account(self.sealed, self.sealed['password_hash'], enforce=True):
            for path in self.host.key_files(name):
                if self.host.lstat(path):
                    self.take_keys(name, path)

    def account(self, one, secret, enforce):
        """Let the account be there and usable. False where it is not one of this host's files."""
        host, name = self.host, one['name']
        if not host.passwd.get(name):
            if self.known('user', name):
                self.notes.append(f'{name} comes from a directory: its password and keys are kept there')
                return False
            self.create(one)
        row = host.passwd.get(name)
        if not host.has_shell(name):
            row[6] = self.login_shell(one)
            self.act(f'{name}: shell {row[6]}')
        elif one.get('shell'):
            row[6] = one['shell']
        if one.get('comment') is not None:
            row[4] = one['comment'].replace(':', ' ').replace('\n', ' ')
        if host.expired(name):
            for entry in host.shadow.all(name):
                entry[7] = ''
            self.act(f'{name}: no longer expired')
        if enforce or (secret and host.password(name) != 'set'):
            wanted = secret
        elif host.password(name) in ('none', 'empty'):
            wanted = '*'  # not '!': sshd without PAM takes that for a locked account
        else:
            wanted = host.secret(name)
            if host.password(name) == 'locked' and one.get('sudo'):
                self.notes.append(f'the password of {name} is locked: sudo will refuse it until it is set anew')
        if host.secret(name) != wanted:
            self.set_secret(name, wanted)
            self.act(f'{name}: password ' + ('set' if HASH.match(wanted) else 'none, keys only'))
        self.home(name)
        return True

    def login_shell(self, one):
        return one.get('shell') or ('/bin/bash' if self.host.lstat(self.host.resolve('/bin/bash') or '/bin/bash')
                                    else '/bin/sh')

    def free(self, kind, low, high, start=None):
        """A number that neither the files nor the name service know: behind the highest in use, as useradd does."""
        table = self.host.passwd if kind == 'user' else self.host.group
        used = {int(row[2]) for row in table if row[2].isdigit()}
        if start is not None and start not in used and not self.known(kind, start):
            return start
        after = max([number for number in used if low <= number <= high], default=low - 1) + 1
        for number in list(range(after, high + 1)) + list(range(low, after)):
            if number not in used and not self.known(kind, number):
                return number
        self.refused.append(f'no number is left for a new {kind} between {low} and {high}')
        return high

    def create(self, one):
        host, name = self.host, one['name']
        base = re.search(r'^\s*HOME=(\S+)', host.read('/etc/default/useradd') or '', re.M)
        home = '{}/{}'.format((base.group(1).strip('"') if base else '/home').rstrip('/'), name)
        info = host.lstat(home)
        # a home that an account of this name left behind goes on being its own
        left = info.st_uid if info and host.uid_min <= info.st_uid <= host.uid_max else None
        uid = self.free('user', host.uid_min, host.uid_max, one.get('uid') or left)
        if one.get('uid') and uid != one['uid']:
            self.refused.append('uid {} of {} belongs to another account'.format(one['uid'], name))
        group = host.group.get(name)
        if group:
            gid = group[2]
        else:
            gid = str(self.free('group', host.limit('GID_MIN', 1000), host.limit('GID_MAX', 60000), uid))
            host.group.add([name, 'x', gid, ''])
            if host.gshadow.before is not None and not host.gshadow.get(name):
                host.gshadow.add([name, '!', '', ''])
        host.passwd.add([name, 'x', str(uid), gid, '', home, self.login_shell(one)])
        ageing = [host.defs.get(key, '') if one.get('password_hash') else ''
                  for key in ('PASS_MIN_DAYS', 'PASS_MAX_DAYS', 'PASS_WARN_AGE')]
        if host.shadow.before is None:
            self.set_secret(name, '*')
        else:
            host.shadow.remove(name)
            host.shadow.add([name, '*', str(host.today)] + ageing + ['', '', ''])
        for table, key in ((host.subuid, 'SUB_UID'), (host.subgid, 'SUB_GID')):
            if table.before is not None and not table.get(name):
                low, count = host.limit(key + '_MIN', 100000), host.limit(key + '_COUNT', 65536)
                ends = [int(row[1]) + int(row[2]) for row in table if row[1].isdigit() and row[2].isdigit()]
                table.add([name, str(max([low] + ends)), str(count)])
        self.act(f'{name}: created, uid {uid}')

    def home(self, name):
        """A home that sshd trusts: its account's own, and writable by nobody else."""
        host, home = self.host, self.host.home(name)
        uid, gid = host.uid(name), host.gid(name)
        real = host.resolve(home)
        info = host.lstat(real) if real else None
        if home in ('/', '/nonexistent') or home.startswith('/dev/'):
            self.refused.append(f'{name} has no home of its own ({home}): give it one, or choose another name')
        elif real is None:
            self.refused.append(f'the home {home} of {name} lies behind a link that root did not make')
        elif info and not stat.S_ISDIR(info.st_mode):
            self.refused.append(f'the home {home} of {name} is not a directory')
        elif info:
            if info.st_uid not in host.trusted | {uid}:
                self.refused.append(f'the home {home} of {name} belongs to uid {info.st_uid}: sshd would not read its '
                                    'keys')
            elif info.st_mode & 0o022 and uid == info.st_uid:
                self.directory(real, f'{stat.S_IMODE(info.st_mode) & ~0o022:04o}', info.st_uid, info.st_gid)
                self.act(f'{name}: home no longer writable by others')
        else:
            above = os.path.dirname(real)
            while not host.lstat(above):
                self.directory(above, '0755')
                above = os.path.dirname(above)
            if os.statvfs(host.real(above)).f_flag & os.ST_RDONLY:
                self.refused.append(f'{above} is read-only: the home of {name} cannot be made')
            self.directory(real, '0700', uid, gid)
            self.fresh.append((uid, gid, real))

    def write_keys(self, name, wanted, exclusive):
        """Put the keys where sshd reads them. `exclusive`: other keys go, a certificate authority's line stays."""
        host = self.host
        if wanted is None:
            return
        paths = host.key_files(name)
        if not paths:
            outside = host.outside_keys(name)
            if not outside:
                self.refused.append(f'sshd reads no file with keys for {name} (AuthorizedKeysFile), nor a certificate: '
                                    'it could not log in')
            self.notes.append(f'sshd takes the keys of {name} from {outside}: its ssh_keys are not written')
            return
        blobs = {KEY.search(line).group(2): line.strip() for line in wanted}
        place = next((path for path in paths if KEY.search(host.read(path) or '')), paths[0])
        for path in paths:
            why = self.unsafe(name, path)
            if why and (path == place or host.lstat(path)):
                self.refused.append(f'keys of {name}: {why}')
                return
            if path != place and exclusive and KEY.search(host.read(path) or ''):
                self.absent(path)
                self.act(f'{name}: keys only in {place}')
        now = [line for line in (host.read(place) or '').splitlines() if line.strip()]
        keep, have = [], set()
        for line in now:
            key = KEY.search(line)
            blob = key.group(2) if key and not line.lstrip().startswith('#') else None
            if blob in blobs and blob not in have:
                bare = KEY.match(blobs[blob]) is not None  # no options of its own: those the site gave it stay
                keep.append(line if bare else blobs[blob])
                have.add(blob)
            elif blob is None or (not exclusive and blob not in have):
                keep.append(line)
            elif 'cert-authority' in line[:key.start(1)]:
                keep.append(line)
                self.notes.append(f'{place}: certificates of an authority go on opening {name}')
        keep += [line for blob, line in blobs.items() if blob not in have]
        if keep == now:
            keep = None
        uid, gid = host.uid(name), host.gid(name)
        inside = place.startswith(host.home(name) + '/')
        step, above = os.path.dirname(place), []
        while not host.lstat(step) and step not in self.files:
            above.append(step)
            step = os.path.dirname(step)
        for one in reversed(above):
            self.directory(one, '0700' if inside else '0755', *((uid, gid) if inside else (0, 0)))
        info = host.lstat(place)
        if keep is not None or not info:
            mode = f'{stat.S_IMODE(info.st_mode) & ~0o022:04o}' if info else '0600' if inside else '0644'
            self.put(place, '\n'.join(keep or []) + '\n', mode, *((uid, gid) if inside and not info else (None, None)))
            self.act(f'{name}: keys in {place}')

    # --- groups and shells

    def join(self, group, names):
        row = self.host.group.get(group)
        if not row:
            self.refused.append('group {} of {} does not exist on this host'.format(group, ', '.join(names)))
            return
        self.members(group, list(dict.fromkeys([one for one in row[3].split(',') if one] + names)))

    def members(self, group, names):
        row, shadow = self.host.group.get(group), self.host.gshadow.get(group)
        before = row[3]
        row[3] = ','.join(names)
        if shadow:
            shadow[3] = row[3]
        if row[3] != before:
            self.act('group {}: {}'.format(group, ', '.join(names) or 'nobody'))

    def login_group(self, adopted):
        host, group = self.host, self.params['login_group']
        if not self.on('login_group'):
            return
        if not host.group.get(group):
            if self.known('group', group):
                self.notes.append(f'group {group} comes from a directory: its members are kept there')
                return
            low, high = host.limit('SYS_GID_MIN', 100), host.limit('SYS_GID_MAX', host.limit('GID_MIN', 1000) - 1)
            used = {row[2] for row in host.group}
            gid = next((number for number in range(high, low - 1, -1)
                        if str(number) not in used and not self.known('group', number)), None)
            if gid is None:
                self.refused.append(f'no number is left for the group {group}')
                return
            host.group.add([group, 'x', str(gid), ''])
            if host.gshadow.before is not None:
                host.gshadow.add([group, '!', '', ''])
        wanted = [name for name in dict.fromkeys(list(self.admins) + [self.automation.get('name')] + adopted)
                  if name and name != self.sealed.get('name') and (host.passwd.get(name) or self.known('user', name))]
        now = [name for name in host.group.get(group)[3].split(',') if name in wanted]
        self.members(group, list(dict.fromkeys(now + wanted)))
        if host.read(ADOPTED) is None:
            self.put(ADOPTED, ADOPTED_TEXT + ''.join(name + '\n' for name in adopted), '0644', 0, 0)

    def system_shells(self):
        host, params = self.host, self.params
        if not self.on('system_shells'):
            return
        busy = {uid for pid, uid, dummy in host.processes()}
        for name in host.names():
            uid = host.uid(name)
            if not 0 < uid < host.uid_min or not host.has_shell(name) or name in self.declared or name in (
                    params['service_shells'] + params['logins']):
                continue
            home = host.lstat(host.home(name))
            working = (home and home.st_uid == uid) or uid in busy or any(host.lstat(s + name) for s in CRONTABS)
            if host.ssh_login(name) or (working and not self.on('service_shells')):
                continue
            for row in host.passwd.all(name):
                row[6] = self.nologin()
            self.act(f'{name}: no shell')

    # --- sudo

    def who(self, name):
        groups = self.host.groups(name)
        return dict(name=name, uid=self.host.uid(name), groups=groups,
                    gids=[row[2] for row in self.host.group if row[0] in groups] + [str(self.host.gid(name))])

    def usable(self, name):
        host = self.host
        return not host.expired(name) and host.has_shell(name) and (
            host.password(name) == 'set' or bool(host.ssh_login(name)))

    def sudo(self, disabled):
        host, sudoers = self.host, self.sudoers
        robot = self.automation.get('name') if self.on('automation') else None
        for name in disabled:
            ids = {'#' + str(self.ids[name])} if name in self.alone else set()
            sudoers.take_away({name} | ids)
        for name, one in self.admins.items():
            if not one['sudo'] and host.passwd.get(name) and sudoers.rights(self.who(name))[0] in ANYTHING:
                sudoers.take_away({name})
        before = {name: sudoers.rights(self.who(name)) for name in host.names()}
        self.undeclared(before, disabled)
        if self.on('sudo_nopasswd'):
            sudoers.drop_defaults(lambda mark, whom, name, value: name == 'exempt_group' or (
                name == 'authenticate' and value is None and mark != '!' and whom != robot))
            sudoers.ask_password(lambda users: users not in ([robot], ['root']))
        if self.on('root_locked'):  # they would ask for a password that no longer answers
            sudoers.drop_defaults(lambda mark, whom, name, value:
                                  name in ('rootpw', 'targetpw', 'runaspw') and value is not None)
        if self.on('sudo_pty'):
            sudoers.drop_defaults(lambda mark, whom, name, value: name == 'use_pty' and value is None and mark != '!')
        if self.on('sudo_path'):
            sudoers.drop_defaults(lambda mark, whom, name, value: name == 'ignore_dot' and value is None)
        if self.on('sudo_negations'):
            self.negations()
        if self.on('sudo_log'):
            sudoers.drop_defaults(lambda mark, whom, name, value: name == 'logfile' and value is None and not mark)
        if self.on('sudo_timeout'):
            sudoers.drop_defaults(self.too_long)
        ours = self.drop_in(disabled, robot)
        for path, text in self.finish_sudo(ours, robot).items():
            if text.strip() == '' and os.path.dirname(path) == '/etc/sudoers.d':
                self.absent(path)
            else:
                self.put(path, text, validate=['sh', '-c', CHECK_SUDOERS, 'sh', '%s'])
            self.act(f'sudo: {path} changed')
        if ours:
            self.put(DROP_IN, ours, '0440', 0, 0, validate=['visudo', '-c', '-f', '%s'])
        else:
            self.absent(DROP_IN)
        people = [name for name, one in self.admins.items() if one['sudo'] and self.on('admins')]
        if self.params['first_password'] and people:
            self.put(FIRST_TIME, FIRST_TIME_TEXT, '0755', 0, 0)
        else:
            self.absent(FIRST_TIME)
        if f'logfile="{self.params["sudo_log"]}"' in ours and host.lstat('/etc/logrotate.d'):
            rules = ('monthly', 'rotate 12', 'missingok', 'notifempty', 'compress', 'create 0600 root root')
            self.put('/etc/logrotate.d/rampart-sudo', '{} {{\n    {}\n}}\n'.format(
                self.params['sudo_log'], '\n    '.join(rules)), '0644', 0, 0)
        else:
            self.absent('/etc/logrotate.d/rampart-sudo')

    def negations(self):
        """Name the rules that forbid single commands: a copy of the program, or a shell, gets around them."""
        for path, line in self.sudoers.lines('rule'):
            commands = [item.command for dummy, items in line.value.parts for item in items]
            if any(one.startswith('!') and one != '!ALL' for one in commands):
                self.notes.append(f'{path} forbids single commands, which is easily got around: {line.value}')
        for path, line in self.sudoers.lines('alias'):
            for name, members in line.value[1] if line.value[0] in ('Cmnd_Alias', 'Cmd_Alias') else ():
                if any(member.startswith('!') for member in members):
                    self.notes.append(f'{path} forbids single commands, which is easily got around: {name}')

    def undeclared(self, rights, disabled):
        """Refuse by name who could become root and is not declared; a rule for everybody is named once."""
        host, sudoers = self.host, self.sudoers
        nobody = dict(name='\0', uid=-2, groups=[], gids=[])
        level, where = sudoers.rights(nobody)
        if level in ANYTHING and self.on('sudo_admins'):
            self.refused.append(f'{where} lets every account become root: take that rule out')
            return
        for name in host.names():
            level, where = rights[name]
            if name in self.declared or name in disabled or host.uid(name) == 0 or level not in ANYTHING:
                continue
            if name == self.cloud:
                if level == 'nopasswd' and self.on('sudo_nopasswd'):
                    self.notes.append(f'{name}, the cloud image\'s account, keeps its login, but sudo asks it for a '
                                      'password: add it to hardening_admins to make it an administrator')
                    if name == self.params['connection_user']:
                        self.refused.append(f'{name} is the account this run connects as, and it would lose sudo: '
                                            'name it in hardening_automation, or connect as hardening_automation')
            elif level == 'nopasswd' and self.on('sudo_nopasswd'):
                self.refused.append(f'{name} may become root without a password ({where}): name the commands it needs '
                                    'there, or list it in admin_accounts_disabled or (a person) in hardening_admins')
            elif self.on('sudo_admins') and self.usable(name) and (level == 'nopasswd' or host.password(name) == 'set'):
                self.refused.append(f'{name} may become root with sudo ({where}) and is not declared: add it to '
                                    'hardening_admins or to admin_accounts_disabled')
        me = self.params['connection_user']
        if (self.on('sudo_nopasswd') and me in self.admins and me != self.automation.get('name')
                and rights.get(me, ('',))[0] == 'nopasswd'):
            self.refused.append(f'{me}, the account this run connects as, would have to give a password for sudo: '
                                'connect as hardening_automation')

    def too_long(self, mark, whom, name, value):
        return name == 'timestamp_timeout' and not (
            re.match(r'[0-9.]+$', value or '') and float(value) <= self.params['sudo_timeout'])

    def drop_in(self, disabled, robot):
        """The text of our drop-in. Where a site logs elsewhere or asks sooner, its own setting stays."""
        host, sudoers = self.host, self.sudoers
        lines = ['# rampart.hardening writes this file anew at every run. What a site adds belongs into one beside it.']
        theirs = {re.split(r'[\s=+-]', setting)[0] for path, line in sudoers.lines('defaults')
                  for setting in line.value[2] if not line.value[0]}
        if self.on('sudo_pty'):
            lines.append('Defaults use_pty')
        if self.on('sudo_path'):
            lines.append('Defaults ignore_dot')
        if self.on('sudo_log') and 'logfile' not in theirs:
            lines.append('Defaults logfile="{}"'.format(self.params['sudo_log']))
        if self.on('sudo_timeout') and 'timestamp_timeout' not in theirs:
            lines.append('Defaults timestamp_timeout={}'.format(self.params['sudo_timeout']))
        if robot:
            if 'requiretty' in theirs:
                lines.append(f'Defaults:{robot} !requiretty')
            lines.append(f'Defaults:{robot} env_keep += "SSH_CONNECTION"')  # for the survey: from where we come
            lines.append(f'{robot} ALL=(ALL:ALL) NOPASSWD: ALL')
        people = [name for name, one in self.admins.items() if one['sudo'] and self.on('admins') and name != robot]
        sealed = [self.sealed['name']] if self.sealed and self.on('break_glass') else []
        lines += [f'{name} ALL=(ALL:ALL) ALL' for name in people + sealed]
        if self.params['first_password']:
            lines += [f'{name} ALL=(root) NOPASSWD: {FIRST_TIME}' for name in people]
        lines += [f'{name} ALL=(ALL:ALL) !ALL' for name in disabled
                  if host.passwd.get(name) and host.uid(name) > 0 and sudoers.rights(self.who(name))[0] != 'none']
        return '\n'.join(lines) + '\n' if len(lines) > 1 else ''

    def finish_sudo(self, ours, robot):
        """{path: text} of the other files, so that sudo reads our drop-in, and last where that matters."""
        changed = self.sudoers.changed()
        main = changed.get('/etc/sudoers', self.host.read('/etc/sudoers'))
        if main is None or not ours:  # where sudo is yet to be installed, its own file reads the directory
            return changed

        def rights(extra):
            texts = dict(changed, **{DROP_IN: ours, '/etc/sudoers': main + extra})
            after = Sudoers(lambda path: texts.get(path, self.host.read(path)), lambda path: set(
                self.list_dir(path) + ['rampart'] * (path == '/etc/sudoers.d')), self.hostname)
            read = DROP_IN in after.files
            return read and (not robot or not self.host.passwd.get(robot)
                             or after.rights(self.who(robot))[0] == 'nopasswd')
        if not rights(''):
            extra = ('' if main.endswith('\n') else '\n') + f'#include {DROP_IN}\n'
            if not rights(extra):
                self.refused.append('sudoers leaves the automation account without its rights, whatever stands in '
                                    + DROP_IN)
            changed['/etc/sudoers'] = main + extra
        return changed

    # --- the console

    def console(self):
        sealed = self.sealed if self.on('break_glass') else {}
        if sealed:
            command = ' '.join(shlex.quote(word) for word in self.params['alarm']) or ':'
            self.put(ALARM, ALARM_TEXT % dict(name=shlex.quote(sealed['name']), command=command), '0755', 0, 0)
        else:
            self.absent(ALARM)
        for service in ('login', 'su'):
            path = '/etc/pam.d/' + service
            text = self.host.read(path)
            if text is None:
                continue
            lines = text.splitlines(True)
            ours = [i for i, line in enumerate(lines) if line.startswith(PAM_MARK)]
            for i in reversed(ours):
                del lines[i:i + 2]
            if sealed and self.has_module('pam_exec.so'):
                if lines and not lines[-1].endswith('\n'):
                    lines[-1] += '\n'
                lines.append(f'{PAM_MARK}accounts.break_glass\nsession optional pam_exec.so quiet {ALARM}\n')
            if service == 'login' and self.on('root_console') and self.has_module('pam_succeed_if.so'):
                first = re.compile(r'\s*-?account\s|\s*@include\s+\S*account')
                at = next((i for i, line in enumerate(lines) if first.match(line)), len(lines))
                lines.insert(at, f'{PAM_MARK}accounts.root_console\n'
                                 'account requisite pam_succeed_if.so quiet uid ne 0\n')
            if ''.join(lines) != text:
                self.put(path, ''.join(lines))
                self.act(f'{path}: ' + ('the console' if service == 'login' else 'su') + ' changed')

    def has_module(self, name):
        """A required module that is missing would shut everybody out."""
        found = any(glob.glob(self.host.real(pattern + name)) for pattern in (
            '/lib/security/', '/lib64/security/', '/lib/*/security/', '/usr/lib/security/', '/usr/lib64/security/',
            '/usr/lib/*/security/'))
        if not found:
            self.notes.append(f'PAM has no {name} here: the console is left as it is')
        return found


# --- the arguments of a module that asks for all this -------------------------------------------------------

KEYS = dict(type='list', elements='str', no_log=False)
ADMIN = dict(
    name=dict(type='str', required=True),
    ssh_keys=KEYS,
    sudo=dict(type='bool', default=True),
    state=dict(type='str', choices=['present', 'absent'], default='present'),
    password_hash=dict(type='str', no_log=True),
    shell=dict(type='str'),
    uid=dict(type='int'),
    comment=dict(type='str'),
    groups=dict(type='list', elements='str'),
)
AUTOMATION = {'name': dict(type='str', required=True), 'ssh_keys': KEYS, 'from': dict(type='list', elements='str')}
SEALED = dict(name=dict(type='str', required=True), password_hash=dict(type='str', required=True, no_log=True))
ARGS = dict(
    admins=dict(type='list', elements='dict', default=[], options=ADMIN),
    automation=dict(type='dict', options=AUTOMATION),
    break_glass=dict(type='dict', options=SEALED),
    alarm=dict(type='list', elements='str', default=[]),
    login_group=dict(type='str', default='ssh-login'),
    logins=dict(type='list', elements='str', default=[]),
    disabled=dict(type='list', elements='str', default=[]),
    leftover=dict(type='list', elements='str', default=[]),
    removed=dict(type='list', elements='str', default=[]),
    service_shells=dict(type='list', elements='str', default=[]),
    sudo_log=dict(type='str', default='/var/log/sudo.log'),
    sudo_timeout=dict(type='int', default=5),
    first_password=dict(type='bool', default=True, no_log=False),
    connection_user=dict(type='str'),
)


def wishes(module, params):
    """What `params`, arguments as in ARGS, want of this host: arguments of transaction.transact."""
    def ask(argv):
        return module.run_command(argv) if os.path.exists(argv[0]) else (127, '', '')

    user = params['connection_user']
    found = plan(dict(params, connection_user=os.environ.get('SUDO_USER', '') if user is None else user),
                 run=ask, hostname=socket.gethostname(), known=name_service)
    if not module.check_mode and not module.get_bin_path('visudo'):
        found['refuse'].append('sudo is not installed on this host: install it first')
    return found
