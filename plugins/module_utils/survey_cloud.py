# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-lived keys to clouds that lie on a host: where, of which kind, whose, and what uses them. Never the keys.

Reads only, and bounded in depth, size, number and time. Every directory and file is opened by a descriptor of the
directory it was seen in, no link is followed, and nothing but plain files of local file systems is read.
"""
from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import stat
import time

from ansible_collections.rampart.hardening.plugins.module_utils import transaction
from ansible_collections.rampart.hardening.plugins.module_utils.survey_services import unit_of

SYSTEM = ('/etc', '/var/spool/cron', '/var/lib/cloud/instances', '/run/systemd/system', '/usr/local/lib/systemd',
          '/usr/lib/systemd/system')
# In a home that is one of these, or in one of those, only what begins with a dot is a home's
SHARED = ('/', '/home', '/media', '/mnt', '/opt', '/srv', '/var', '/var/cache', '/var/lib', '/var/spool')
OUTSIDE = ('/bin', '/boot', '/etc', '/lib', '/run', '/sbin', '/usr')
KERNEL = ('/dev', '/proc', '/sys')
LOCAL = ('ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'f2fs', 'jfs', 'reiserfs', 'nilfs2', 'zfs', 'bcachefs', 'tmpfs',
         'ramfs', 'overlay', 'vfat', 'exfat', 'fuse-overlayfs')
# What programs bring and fetch, which nobody wrote keys into
PASSED_OVER = {'.git', '.hg', '.svn', '.cache', '.npm', '.cargo', '.rustup', '.terraform', '.mozilla', '.vscode-server',
               'node_modules', 'site-packages', 'dist-packages', '__pycache__', 'containers', 'ca-certificates'}
FIRST = ('.aws', '.azure', '.config', 'gcloud', '.aliyun')  # should a limit be met, these have been seen
ENDINGS = ('.json', '.env', '.ini', '.cfg', '.conf', '.yml', '.yaml', '.toml', '.properties', '.tfvars', '.csv', '.sh',
           '.tfstate', '.txt', '.xml', '.service', '.cache', '.db', '.bak', '.old', '.orig', '~')
NAMES = re.compile(r'\.|.*(credential|secret|key|token|environ|config|settings|rootkey|env$)', re.IGNORECASE)
DEPTH, ENTRIES, FINDINGS, SIZE = 6, 20000, 100, 1 << 18
SECONDS, SECONDS_IN_ALL = 3, 10
# In the names of assignments - and _ do not count, nor does the case
WORDS = re.compile(
    rb'(?:secret|access[_-]?key|token|client[_-]?id|tenant|app[_-]?id|password)'
    rb'[a-z0-9_-]{0,24}\\?["\']?[ \t]{0,8}[=: ][ \t]{0,8}\\?["\']?([^\s"\'\\,;]{0,256})')
NAME, NAME_BEFORE = re.compile(rb'[a-z0-9_-]*'), re.compile(rb'[a-z0-9_-]*\Z')
SECTION = re.compile(rb'^[ \t]*\[[^\]\n]{1,200}\][ \t]*$', re.MULTILINE)
# What documentation, templates and programs have in a key's place
NO_VALUE = re.compile(rb'(?i)[$<{(\[%*!@]|.*(example|changeme|placeholder|your[_-]|redacted)|(.)\2*$|'
                      rb'[a-z_]+(\.[a-z_]\w*)+$|[\w.-]+[(\[{]|/?(etc|run|home|var|opt|srv|root|usr)/')
AWS_PAIR = (re.compile(rb'(?<![A-Za-z0-9])AKIA[A-Z0-9]{16}(?![A-Za-z0-9])'),
            re.compile(rb'(?<![A-Za-z0-9/+])(?=[^\s]{0,39}\d)(?![0-9a-f]{40})[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])'))
ALIBABA_PAIR = (re.compile(rb'(?<![A-Za-z0-9])LTAI[A-Za-z0-9]{8,24}(?![A-Za-z0-9])'),
                re.compile(rb'(?<![A-Za-z0-9])(?=[^\s]{0,29}\d)[A-Za-z0-9]{30}(?![A-Za-z0-9])'))
NEAR = 300
STORAGE_KEY = re.compile(rb'(?:[Aa]ccount_?[Kk]ey|ACCOUNT_KEY|STORAGE_(?:ACCESS_)?KEY)\W{1,12}[A-Za-z0-9+/]{86}==')
GOOGLE_KEY = re.compile(rb'private_key\\?["\']?\s{0,8}:\s{0,8}[|>-]{0,2}\s{0,8}\\?["\']?-----BEGIN')
GOOGLE_LOGIN = re.compile(rb'refresh_token\W{1,12}1//?[\w-]{20,}')
AZURE_LOGIN = re.compile(rb'"RefreshToken"\s{0,8}:\s{0,8}\{\s{0,200}"')
AZURE_LOGIN_OLD = re.compile(rb'"refreshToken"\s{0,8}:\s{0,8}"[^"]{40}')
# What names further files: those of a unit, and those of a program that has them elsewhere
POINTER = re.compile(rb'(?:EnvironmentFile|LoadCredential|[A-Z_]*(?:CREDENTIALS|CREDENTIALS_FILE|AUTH_LOCATION))'
                     rb'\s{0,8}[=:]\s{0,8}["\']?(?:[\w.-]{1,64}:)?-?(/[^\s"\':;%]{1,255})')
# Files that hold nothing else
ALONE = re.compile(r'/\.aws/credentials$|/\.azure/(msal_token_cache|service_principal_entries)\.(json|bin)$|'
                   r'/\.azure/accessTokens\.json$|/gcloud/(credentials\.db|legacy_credentials/.+)$|'
                   r'/\.passwd-s3fs$|\.csv$')


# --- what a text says ---------------------------------------------------------------------------------------

def assignments(data):
    """What looks like `name = value` for one of the names that matter: {name: (value, offset)}, the first of a name."""
    found, lower = {}, data.lower()
    for match in WORDS.finditer(lower):
        begin = match.start() - len(NAME_BEFORE.search(lower[max(0, match.start() - 40):match.start()]).group())
        word = NAME.match(lower[begin:match.start(1)]).group()
        name, value = word.replace(b'_', b'').replace(b'-', b'').decode(), data[slice(*match.span(1))]
        if value and (name not in found or not usable(found[name][0])):
            found[name] = (value, begin)
    return found


def usable(value):
    """Whether a value may be a key, and is not a reference to one or an example."""
    return len(value) >= 12 and not NO_VALUE.match(value)


def pair(data, shapes):
    """Where an id stands near something of its key's shape; None where it does not."""
    for match in shapes[0].finditer(data):
        around = data[max(0, match.start() - NEAR):match.start()] + b' ' + data[match.end():match.end() + NEAR]
        if not match.group().endswith(b'EXAMPLE') and any(
                usable(one.group()) for one in shapes[1].finditer(around)):
            return match.start()
    return None


def from_names(said):
    """Kinds that the assignments of one section show: {kind: offset}."""
    found = {}

    def first(*endings, value=usable):
        return next((offset for name, (one, offset) in said.items() if name.endswith(endings) and value(one)), None)

    def has(*endings):
        return first(*endings, value=len) is not None

    def exactly(*names):
        return next((said[name][1] for name in names if usable(said.get(name, (b'',))[0])), None)

    aws = first('awssecretaccesskey', 'awssecretkey', 'secretaccesskey')
    if aws is None and has('accesskey', 'accesskeyid'):
        aws = exactly('secretkey', 's3secretkey')
    temporary = has('sessiontoken', 'securitytoken', 'ststoken') or first(
        'accesskeyid', 'accesskey', value=lambda one: one.startswith((b'ASIA', b'STS.'))) is not None
    alibaba = first('accesskeysecret', 'alicloudsecretkey')
    if aws is not None and not temporary:
        found['aws_access_key'] = aws
    if alibaba is not None and not temporary:
        found['alibaba_access_key'] = alibaba
    azure = first('azureclientsecret', 'armclientsecret', 'aadclientsecret')
    if azure is None and has('tenantid', 'tenant') and has('clientid', 'appid'):
        azure = first('clientsecret')
        azure = exactly('secret', *(['password'] if 'appid' in said else [])) if azure is None else azure
    if azure is not None:
        found['azure_service_principal'] = azure
    return found


def kinds(data):
    """The kinds of long-lived keys in a file's content (bytes), each with its offset: {kind: offset}.

    Not among them: temporary keys (ASIA… or with a session token, STS.…), access tokens, and what only says where a
    role comes from (role_arn, credential_source, sso, external_account, managed identities).
    """
    found, lower = {}, data.lower()
    if b'secret' in lower or b'appid' in lower:
        cuts = [0] + [match.start() for match in SECTION.finditer(data)] + [len(data)]
        for begin, end in zip(cuts, cuts[1:]):
            for kind, offset in from_names(assignments(data[begin:end])).items():
                found.setdefault(kind, begin + offset)
    for kind, mark, shapes in (('aws_access_key', b'AKIA', AWS_PAIR), ('alibaba_access_key', b'LTAI', ALIBABA_PAIR)):
        offset = pair(data, shapes) if mark in data else None
        if offset is not None:
            found.setdefault(kind, offset)
    for kind, mark, shape, other in (
            ('azure_storage_key', b'==', STORAGE_KEY, b''),
            ('gcp_service_account_key', b'service_account', GOOGLE_KEY, b'service_account'),
            ('gcp_user_login', b'refresh_token', GOOGLE_LOGIN, b''),
            ('azure_user_login', b'RefreshToken"', AZURE_LOGIN, b''),
            ('azure_user_login', b'"refreshToken"', AZURE_LOGIN_OLD, b'_authority')):
        match = shape.search(data) if mark in data and other in data else None
        if match:
            found[kind] = match.start()
    return found


def alone(path, data):
    """Whether the file holds keys and nothing else that anybody would miss."""
    if path.endswith('/.aws/credentials'):
        cuts = [match.start() for match in SECTION.finditer(data)] + [len(data)]
        return all(kinds(data[begin:end]) for begin, end in zip(cuts, cuts[1:]))
    if ALONE.search(path):
        return True
    try:
        said = json.loads(data) if path.endswith('.json') else None
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and (
        said.get('type') in ('service_account', 'authorized_user', 'impersonated_service_account')
        or {'clientId', 'clientSecret', 'tenantId'} <= set(said)
        or set(said) <= {'appId', 'displayName', 'name', 'password', 'tenant'})


# --- the walk -----------------------------------------------------------------------------------------------

def foreign(text):
    """The mount points of a mountinfo's `text` that are not of a local file system: one may hang, or be another's."""
    found = set()
    for line in text.splitlines():
        left, dummy, right = line.partition(' - ')
        fields, kind = left.split(), right.split()
        if len(fields) > 4 and kind and kind[0] not in LOCAL:
            found.add(re.sub(r'\\(\d{3})', lambda match: chr(int(match.group(1), 8)), fields[4]))
    return found - {'/'}


def read_at(name, directory):
    """(stat, content) of the plain file `name` of an open directory; None where it is none, empty or too large."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags | os.O_NOATIME, dir_fd=directory)
    except PermissionError:  # as another's in a user namespace
        descriptor = os.open(name, flags, dir_fd=directory)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or not 0 < info.st_size <= SIZE:
            return None
        return info, os.read(descriptor, SIZE)
    finally:
        os.close(descriptor)


def within(path, places):
    """Whether `path` is one of `places` or in one of them."""
    return any(path == place or path.startswith(place + '/') for place in places)


class Search:
    """Looks through directories. `found` are the findings, `skipped` is where it did not look, and why."""

    def __init__(self, stop):
        self.stop, self.found, self.skipped, self.texts, self.named = stop, {}, [], [], set()
        self.been, self.end, self.until = set(), time.monotonic() + SECONDS_IN_ALL, 0
        self.left, self.room = 0, FINDINGS

    @contextlib.contextmanager
    def opened(self, place):
        """A descriptor of the directory `place`; None where it is not to be looked at."""
        descriptor = None
        if within(place, KERNEL):
            pass
        elif within(place, self.stop):
            self.skipped.append(f'{transaction.readable(place)}: not a local file system')
        else:
            try:
                descriptor = transaction.open_directory(place)
            except transaction.Diverted:
                self.skipped.append(f'{transaction.readable(place)}: a link that root did not make leads there')
            except OSError:
                pass  # not there
        yield descriptor
        if descriptor is not None:
            os.close(descriptor)

    def look(self, place, home=False):
        """Look through a directory: all of it, or of a `home` what may hold keys."""
        with self.opened(place) as descriptor:
            if descriptor is None:
                return
            self.left, self.room, self.until = ENTRIES, FINDINGS, min(self.end, time.monotonic() + SECONDS)
            shared = home and (place in SHARED or within(place, OUTSIDE))
            if not self.visit(descriptor, place, home, shared, DEPTH):
                self.skipped.append(f'{transaction.readable(place)}: too much to look at all of it')

    def visit(self, descriptor, path, home, shared, depth):
        """Look at an open directory and those in it; false where a limit ended it."""
        info, front = os.fstat(descriptor), path.rstrip('/') + '/'
        if (info.st_dev, info.st_ino) in self.been:
            return True
        self.been.add((info.st_dev, info.st_ino))
        files, directories = [], []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                self.left -= 1
                if self.left < 0:
                    break
                if shared and not entry.name.startswith('.'):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
        for name in files:
            if time.monotonic() > self.until or not self.room:
                return False
            if not home or name.lower().endswith(ENDINGS) or NAMES.match(name):
                self.file(descriptor, name, front + name, home)
        for name in sorted(directories, key=lambda name: (name not in FIRST, name)) if depth else []:
            if name in PASSED_OVER or front + name in self.stop:
                continue
            try:
                child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            except OSError:
                continue  # gone, or a link by now
            try:
                if not self.visit(child, front + name, home, False, depth - 1):
                    return False
            finally:
                os.close(child)
        return self.left >= 0

    def file(self, directory, name, path, home=False):
        """Look into one file of an open directory."""
        try:
            seen = read_at(name, directory)
        except OSError:
            seen = None
        if seen is None:
            return
        info, data = seen
        if not home:
            self.texts.append(path)
        if b'EnvironmentFile' in data or b'CREDENTIAL' in data or b'LoadCredential' in data or b'_LOCATION' in data:
            self.named.update(os.fsdecode(match.group(1)) for match in POINTER.finditer(data))
        found = kinds(data)
        if found:
            self.room -= 1
            shown = transaction.readable(path)  # another than the path itself cannot be acted on
            self.found[path] = dict(
                path=shown, kinds=sorted(found), owner=account(info.st_uid), mode=f'{stat.S_IMODE(info.st_mode):04o}',
                line=data.count(b'\n', 0, min(found.values())) + 1, alone=shown == path and alone(path, data),
                stamp=transaction.stamp(info), info=info)

    def one(self, path):
        """Look into a file that another names."""
        path = os.path.normpath(path)
        if path not in self.found:
            with self.opened(os.path.dirname(path)) as directory:
                if directory is not None:
                    self.file(directory, os.path.basename(path), path)


def account(uid):
    """The name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# --- who uses it --------------------------------------------------------------------------------------------

def processes():
    """The processes as [(name or unit, texts in which a path may stand, open files, whose service)]."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError):
            place, files = f'/proc/{pid}', set()
            status = raw(place + '/status')
            name, unit = raw(place + '/comm').decode(errors='replace').strip(), unit_of(pid)
            with contextlib.suppress(OSError):
                for number in os.listdir(place + '/fd'):
                    with contextlib.suppress(OSError):
                        files.add(os.readlink(f'{place}/fd/{number}'))
            ids = {word: {int(one) for one in numbers.split()}
                   for word, numbers in re.findall(rb'(?m)^(Uid|Gid|Groups):(.*)$', status)}
            if len(ids) < 3:
                continue  # it has ended
            # sessions of people are in the service of sshd where logind keeps no account of them
            own = unit.endswith('.service') and not unit.startswith(('user@', 'ssh')) and ids[b'Uid'] != {0}
            found.append((unit if unit.endswith('.service') else name,
                          raw(place + '/environ') + b'\0' + raw(place + '/cmdline'), files,
                          (ids[b'Uid'], ids[b'Gid'] | ids[b'Groups']) if own else None))
    return found


def raw(path):
    """The content of a file of /proc; empty where it cannot be read."""
    try:
        with open(path, 'rb') as handle:
            return handle.read(SIZE)
    except OSError:
        return b''


def again(path):
    """The content of a file that was looked into before; empty where it is another by now."""
    with contextlib.suppress(OSError):
        directory = transaction.open_directory(os.path.dirname(path))
        try:
            seen = read_at(os.path.basename(path), directory)
            return seen[1] if seen else b''
        finally:
            os.close(directory)
    return b''


def users(found, texts):
    """Fill in `used`: what visibly uses each file of `found`. It names it, has it open, or runs as who may read it."""
    alive = processes() if found else []
    texts = {path: again(path) for path in texts} if found else {}
    for path, item in found.items():
        info, used = item.pop('info'), set()
        names = re.compile(re.escape(os.fsencode(path)) + rb'(?![\w.~-])')
        used |= {transaction.readable(text) for text, data in texts.items() if text != path and names.search(data)}
        for name, said, files, whose in alive:
            if path in files or names.search(said) or (whose and (
                    info.st_uid in whose[0] - {0} or (info.st_mode & 0o040 and info.st_gid in whose[1] - {0}))):
                used.add(name)
        item['used'] = sorted(used)


def collect():
    """The survey's `cloud`.

    Returns::

        found: [{path, kinds: [kind], owner, mode, line: of the first key,
                 alone: whether the file holds nothing else, used: [what visibly uses it], stamp}]
        skipped: [place that was not, or not wholly, looked at, and why]
    """
    search = Search(foreign(os.fsdecode(raw('/proc/self/mountinfo'))))
    for place in SYSTEM:
        search.look(place)
    homes = {entry.pw_dir: entry.pw_uid for entry in reversed(pwd.getpwall()) if entry.pw_dir.startswith('/')}
    with contextlib.suppress(OSError):
        for name in os.listdir('/home'):  # of accounts that are gone, or that no list of them has
            homes.setdefault('/home/' + name, 1 << 32)
    for home in sorted(homes, key=lambda home: (homes[home], home)):
        search.look(os.path.normpath(home), home=True)
    for path in sorted(search.named):
        search.one(path)
    users(search.found, search.texts)
    return dict(found=[search.found[path] for path in sorted(search.found)], skipped=search.skipped)
