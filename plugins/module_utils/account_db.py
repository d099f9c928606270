# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts of a host as they are: databases, keys, and what sshd makes of them. Only reads; stdlib only.

Everything takes the directory that is the host's root, so that a test can put a host into a temporary one.
"""
from __future__ import annotations

import fnmatch
import glob
import os
import re
import shlex
import stat
import time

NO_SHELL = ('nologin', 'false', 'true', 'sync', 'halt', 'shutdown')
NO_PASSWORD = ('*', '!', '!!', '!*', '*!', 'x', '*LK*', '*NP*')
HASH = re.compile(r'(\$[0-9a-z]+\$.+|_[./0-9A-Za-z]{19}|[./0-9A-Za-z]{13})$')
KEY = re.compile(r'(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]{16,}=*)')
CLOUD_FILES = ('/etc/cloud/cloud.cfg', '/etc/cloud/cloud.cfg.d/*.cfg')


def read(root, path):
    """The text of the regular file `path`; None where there is none. Odd bytes survive a round trip."""
    where = root.rstrip('/') + path
    try:
        if not stat.S_ISREG(os.stat(where).st_mode):
            return None
        with open(where, encoding='utf-8', errors='surrogateescape', newline='') as handle:
            return handle.read()
    except (OSError, ValueError):
        return None


class Table:
    """One colon-separated database. Order, comments, NIS lines and whatever cannot be read stay as they are."""

    def __init__(self, root, name, width):
        self.path, self.width = '/etc/' + name, width
        self.before = read(root, self.path)
        self.lines = []
        for line in (self.before or '').split('\n'):
            row = line.split(':')
            self.lines.append(row if len(row) == width and row[0] and row[0][0] not in '#+-' else line)

    def __iter__(self):
        return (line for line in self.lines if isinstance(line, list))

    def get(self, name):
        """The first row of `name`, the one that counts; None where there is none."""
        return next((row for row in self if row[0] == name), None)

    def all(self, name):
        return [row for row in self if row[0] == name]

    def add(self, row):
        """Append `row`, before the first NIS line: what stands behind one can be overruled by it."""
        position = next((i for i, line in enumerate(self.lines) if isinstance(line, str) and line[:1] in ('+', '-')),
                        len(self.lines))
        while position and self.lines[position - 1] == '':
            position -= 1
        if position == len(self.lines):
            self.lines.append('')  # the file lacked its last newline
        self.lines.insert(position, row)

    def remove(self, name):
        self.lines = [line for line in self.lines if isinstance(line, str) or line[0] != name]

    @property
    def text(self):
        return '\n'.join(line if isinstance(line, str) else ':'.join(line) for line in self.lines)


class Host:
    """The live state. `run` is (argv) -> (rc, stdout, stderr), None where nothing may be run (a test)."""

    def __init__(self, root='/', run=None, today=None):
        self.root, self.run = root, run
        self.today = int(time.time() // 86400) if today is None else today
        self.trusted = {0, os.stat(root).st_uid}
        self.passwd, self.shadow = Table(root, 'passwd', 7), Table(root, 'shadow', 9)
        self.group, self.gshadow = Table(root, 'group', 4), Table(root, 'gshadow', 4)
        self.subuid, self.subgid = Table(root, 'subuid', 3), Table(root, 'subgid', 3)
        self.defs = {}
        for line in (self.read('/etc/login.defs') or '').splitlines():
            words = line.split()
            if len(words) >= 2 and not words[0].startswith('#'):
                self.defs[words[0]] = words[1]
        self.uid_min, self.uid_max = self.limit('UID_MIN', 1000), self.limit('UID_MAX', 60000)
        self._sshd, self._args = {}, None
        self._match = self.match_blocks()

    def read(self, path):
        return read(self.root, path)

    def limit(self, name, default):
        try:
            return int(self.defs[name], 0)
        except (KeyError, ValueError):
            return default

    def real(self, path):
        return self.root.rstrip('/') + path

    def lstat(self, path):
        try:
            return os.lstat(self.real(path))
        except (OSError, ValueError):
            return None

    def resolve(self, path):
        """`path` without links, following only those that root alone could have made; None where another could."""
        todo, at, hops = [part for part in path.split('/') if part], '/', 0
        while todo:
            part = todo.pop(0)
            if part == '..':
                at = os.path.dirname(at)
                continue
            step = os.path.join(at, part)
            info = self.lstat(step)
            if info and stat.S_ISLNK(info.st_mode):
                parent = self.lstat(at)
                hops += 1
                if hops > 20 or info.st_uid not in self.trusted or parent.st_uid not in self.trusted:
                    return None
                target = os.readlink(self.real(step))
                at = '/' if target.startswith('/') else at
                todo = [piece for piece in target.split('/') if piece not in ('', '.')] + todo
                continue
            at = step
        return at

    # --- accounts

    def names(self):
        """Every account of the passwd file once, in its order."""
        return list(dict.fromkeys(row[0] for row in self.passwd))

    def uid(self, name):
        row = self.passwd.get(name)
        return int(row[2]) if row and row[2].isdigit() else -1

    def gid(self, name):
        row = self.passwd.get(name)
        return int(row[3]) if row and row[3].isdigit() else -1

    def home(self, name):
        return os.path.normpath(self.passwd.get(name)[5] or '/')

    def shell(self, name):
        return self.passwd.get(name)[6]

    def has_shell(self, name):
        """An empty shell field means /bin/sh."""
        return os.path.basename(self.shell(name)) not in NO_SHELL

    def human(self, name):
        return self.uid_min <= self.uid(name) <= self.uid_max

    def secret(self, name):
        """The password field that counts; None where there is no such account in either file."""
        row, shadow = self.passwd.get(name), self.shadow.get(name)
        if row and row[1] != 'x':
            return row[1]
        return shadow[1] if shadow else None

    def password(self, name):
        """set, locked (a hash made unusable), empty, or none."""
        secret = self.secret(name)
        if secret == '':
            return 'empty'
        if secret is None or secret in NO_PASSWORD:
            return 'none'
        if HASH.match(secret):
            return 'set'
        return 'locked' if HASH.match(secret.lstrip('!*')) else 'none'

    def expired(self, name):
        row = self.shadow.get(name)
        return bool(row and row[7].isdigit() and int(row[7]) <= self.today)

    def groups(self, name):
        """The names of the groups `name` belongs to, its own first."""
        gid = str(self.gid(name))
        own = [row[0] for row in self.group if row[2] == gid]
        return list(dict.fromkeys(own + [row[0] for row in self.group if name in row[3].split(',')]))

    # --- sshd

    def sshd_args(self):
        """What the running sshd was told on its command line: another file (-f) or options (-o)."""
        if self._args is None:
            self._args = []
            for path in glob.glob(self.real('/proc/[0-9]*/cmdline')):
                try:
                    with open(path, encoding='utf-8', errors='replace') as handle:
                        found = re.match(r'sshd: (\S*sshd\S* .*) \[listener\]', handle.read(4096).replace('\0', ' '))
                except OSError:
                    continue
                if found:
                    words = shlex.split(found.group(1))
                    for i, word in enumerate(words):
                        if word in ('-f', '-o') and i + 1 < len(words):
                            self._args += [word, words[i + 1]]
                        elif re.match('-[fo].', word):
                            self._args.append(word)
                    break
        return self._args

    def match_blocks(self):
        """The criteria of every Match line sshd reads, as words."""
        found, todo, seen = [], ['/etc/ssh/sshd_config'], set()
        args = self.sshd_args()
        if '-f' in args:
            todo = [args[args.index('-f') + 1]]
        while todo:
            path = todo.pop(0)
            if path in seen:
                continue
            seen.add(path)
            for line in (self.read(path) or '').splitlines():
                words = re.split(r'[\s=]+', line.split('#')[0].strip())
                if words[0].lower() == 'match':
                    found.append(words[1:])
                elif words[0].lower() == 'include':
                    for pattern in words[1:]:
                        pattern = os.path.join('/etc/ssh', pattern.strip('"'))
                        todo += [name[len(self.real('')):] for name in sorted(glob.glob(self.real(pattern)))]
        return found

    def sshd(self, name):
        """sshd's effective settings for `name` as {keyword: [lines]}; its defaults where it cannot be asked."""
        # accounts that the same Match blocks name have the same settings: one question for all of them
        groups = self.groups(name) if self._match else []
        key = tuple(any(fnmatch.fnmatchcase(one, pattern.lstrip('!')) for kind, patterns in zip(words, words[1:])
                        for one in {'user': [name], 'group': groups}.get(kind.lower(), ())
                        for pattern in patterns.strip('"').split(',')) for words in self._match)
        if key not in self._sshd:
            rc, out = 1, ''
            if self.run:
                # all that a Match can ask for: sshd fails where one asks for what it was not told
                who = f'user={name},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22'
                rc, out = self.run(['/usr/sbin/sshd', '-T', '-C', who] + self.sshd_args())[:2]
            settings = {}
            for line in out.splitlines() if rc == 0 else ():
                keyword, dummy, value = line.partition(' ')
                settings.setdefault(keyword.lower(), []).append(value)
            settings.setdefault('authorizedkeysfile', ['.ssh/authorized_keys .ssh/authorized_keys2'])
            self._sshd[key] = settings
        return self._sshd[key]

    def setting(self, name, keyword):
        """One value of sshd's settings for `name`; empty where it is unset or none."""
        value = ' '.join(self.sshd(name).get(keyword, []))
        return '' if value == 'none' else value

    def key_files(self, name):
        """The paths where sshd looks for the keys of `name`, in its order. Only files that are this account's alone."""
        found = []
        for pattern in self.setting(name, 'authorizedkeysfile').split():
            if pattern == 'none':
                continue
            own = not pattern.startswith('/') or re.search('%[uhU]', pattern)
            path = re.sub('%(.)', lambda m: {'%': '%', 'u': name, 'h': self.home(name),
                                             'U': str(self.uid(name))}.get(m.group(1), m.group(0)), pattern)
            if own:
                found.append(os.path.normpath(os.path.join(self.home(name), path)))
        return found

    def keys(self, name):
        """How many public keys sshd would find in the files of `name`."""
        return sum(bool(KEY.search(line)) for path in self.key_files(name)
                   for line in (self.read(path) or '').splitlines() if not line.lstrip().startswith('#'))

    def matched(self, name):
        """Whether the site made a Match block for this account or for a group of its."""
        groups = self.groups(name)
        for words in self._match:
            for kind, patterns in zip(words, words[1:]):
                mine = {'user': [name], 'group': groups}.get(kind.lower(), [])
                if any(pattern in mine for pattern in patterns.strip('"').split(',')):
                    return True
        return False

    def ssh_allows(self, name):
        """Whether AllowUsers, DenyUsers and their kin let `name` in, as far as that depends on the name."""
        def listed(keyword, names):
            patterns = self.setting(name, keyword).split()
            return patterns, any(fnmatch.fnmatchcase(one, pattern.split('@')[0]) for one in names
                                 for pattern in patterns)
        groups = self.groups(name)
        for keyword, names in (('denyusers', [name]), ('denygroups', groups)):
            if listed(keyword, names)[1]:
                return False
        for keyword, names in (('allowusers', [name]), ('allowgroups', groups)):
            patterns, found = listed(keyword, names)
            if patterns and not found:
                return False
        return True

    def outside_keys(self, name):
        """Where else than in a file sshd gets this account's keys from, in sshd's own word; empty where nowhere."""
        return next((word for word in ('TrustedUserCAKeys', 'AuthorizedKeysCommand')
                     if self.setting(name, word.lower())), '')

    def ssh_login(self, name):
        """How `name` can log in over SSH today without a password: key, outside, match; empty where it cannot."""
        if self.expired(name) or not self.ssh_allows(name):
            return ''
        if self.keys(name):
            return 'key'
        if self.matched(name):
            return 'match'
        if self.human(name) and self.has_shell(name) and self.outside_keys(name):
            return 'outside'
        return ''

    # --- where it stands

    def cloud_user(self):
        """The account cloud-init makes for whoever rents the machine; empty where there is none."""
        for pattern in CLOUD_FILES:
            for path in sorted(glob.glob(self.real(pattern))):
                text = self.read(path[len(self.real('')):]) or ''
                found = re.search(r'^(\s*)default_user:[^\n]*\n((?:\1\s+[^\n]*\n|\s*\n)*?)\1\s+name:\s*["\']?([\w.-]+)',
                                  text + '\n', re.M)
                if found:
                    return found.group(3)
        found = re.search(r'^([\w.-]+)\s+ALL', self.read('/etc/sudoers.d/90-cloud-init-users') or '', re.M)
        return found.group(1) if found else ''

    def directory(self):
        """Where this host takes accounts from besides its files (sss, ldap, winbind…), as nsswitch names it."""
        found = re.search(r'^\s*passwd:(.*)$', self.read('/etc/nsswitch.conf') or '', re.M)
        words = re.sub(r'\[[^]]*\]', '', found.group(1)).split() if found else []
        return [word for word in words if word in ('sss', 'ldap', 'winbind', 'nis', 'nisplus', 'compat', 'oslogin')
                and (word != 'compat' or re.search(r'^\+', self.passwd.before or '', re.M))]

    def processes(self):
        """[(pid, uid, service)] of what runs; service is the systemd service that started it, logins aside."""
        found = []
        for path in glob.glob(self.real('/proc/[0-9]*')):
            try:
                uid = os.stat(path).st_uid
                with open(path + '/cgroup', encoding='utf-8') as handle:
                    service = re.search(r'/system\.slice/(?:.*/)?([^/]+\.service)', handle.read())
            except OSError:
                continue
            name = service.group(1) if service else ''
            if re.match(r'(sshd?|crond?|atd|.*getty)[@.-]', name):
                name = ''
            found.append((int(os.path.basename(path)), uid, name))
        return found
