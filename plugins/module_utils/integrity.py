# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One walk over a host's local file systems, and what owners and modes are to become after it.

The walk reads and changes nothing. It takes place in a child with idle priority, and splits into several where it turns
out to be long. What it finds is looked at again, through descriptors, when it is changed.
"""
from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import fcntl
import fnmatch
import grp
import json
import os
import platform
import pwd
import re
import select
import signal
import stat
import struct
import time

from ansible_collections.rampart.hardening.plugins.module_utils import transaction

STATE = transaction.ROOT + '/integrity'
SEEN = STATE + '/seen.json'
LOCAL = ('ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'f2fs', 'jfs', 'reiserfs', 'nilfs2', 'zfs', 'bcachefs', 'tmpfs')
NETWORK = ('nfs', 'nfs4', 'cifs', 'smb3', '9p', 'virtiofs', 'ceph', 'glusterfs', 'afs', 'lustre')
# Other systems' files: layers and volumes of containers, and what comes and goes with sessions and devices
SKIP = (
    '/proc', '/sys', '/dev', '/run/user', '/run/containerd', '/run/docker', '/run/credentials', '/snap',
    '/var/lib/docker', '/var/lib/containers', '/var/lib/containerd', '/var/lib/kubelet/pods',
    '/var/lib/kubelet/plugins', '/var/lib/rancher', '/var/lib/lxc', '/var/lib/lxd', '/var/lib/incus',
    '/var/lib/machines', '/var/lib/snapd/snap', '/var/snap', '/var/lib/flatpak', transaction.ROOT)
NESTED = '/.local/share/containers'  # in any home
DYNAMIC = range(61184, 65520)  # systemd's DynamicUser: without a name while the service is down
SPLIT_AFTER = 0.15  # seconds; most hosts are walked by then
MAX_WORKERS = 8
IOPRIO_SET = {'x86_64': 251, 'aarch64': 30, 'armv7l': 314, 'i686': 289, 'ppc64le': 273, 's390x': 282, 'riscv64': 30}
SETID = stat.S_ISUID | stat.S_ISGID
CAPABILITIES = (
    'chown', 'dac_override', 'dac_read_search', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap',
    'linux_immutable', 'net_bind_service', 'net_broadcast', 'net_admin', 'net_raw', 'ipc_lock', 'ipc_owner',
    'sys_module', 'sys_rawio', 'sys_chroot', 'sys_ptrace', 'sys_pacct', 'sys_admin', 'sys_boot', 'sys_nice',
    'sys_resource', 'sys_time', 'sys_tty_config', 'mknod', 'lease', 'audit_write', 'audit_control', 'setfcap',
    'mac_override', 'mac_admin', 'syslog', 'wake_alarm', 'block_suspend', 'audit_read', 'perfmon', 'bpf',
    'checkpoint_restore')
GET_FLAGS, UNCHANGEABLE = 0x80086601, 0x30  # FS_IOC_GETFLAGS; immutable, append only
INFO = '/var/lib/dpkg/info'
OVERRIDES = '/var/lib/dpkg/statoverride'
DIVERSIONS = '/var/lib/dpkg/diversions'
MERGED = ('/usr/bin/', '/usr/sbin/', '/usr/lib/', '/usr/lib32/', '/usr/lib64/', '/usr/libx32/')


class WalkError(Exception):
    """The walk did not come to its end; the message says why."""


# --- where to walk ------------------------------------------------------------------------------------------

def mounts(text):
    """(point, type, device, root) of every mount in a mountinfo's `text`, later ones over earlier ones."""
    found = {}
    for line in text.splitlines():
        left, dummy, right = line.partition(' - ')
        fields, kind = left.split(), right.split()
        if len(fields) < 6 or len(kind) < 3:
            continue
        point, root = (re.sub(r'\\(\d{3})', lambda m: chr(int(m.group(1), 8)), fields[n]) for n in (4, 3))
        point = point.encode('latin-1', 'ignore').decode('utf-8', 'surrogateescape') if '\\' in fields[4] else point
        options = set(fields[5].split(',')) | set(kind[2].split(','))
        found[point] = (kind[0], fields[2], root, 'ro' in options)
    return found


def roots(found, skip):
    """The mount points to walk: local, not read-only, each file system once, / whatever it is made of."""
    chosen, taken = [], {}
    for point, (kind, device, root, read_only) in sorted(found.items(), key=lambda item: (len(item[1][2]), item[0])):
        if below(point, skip) or (point != '/' and (kind not in LOCAL or read_only)) or kind in NETWORK:
            continue
        if point != '/' and any(root == other or root.startswith(other.rstrip('/') + '/')
                                for other in taken.get(device, [])):
            continue  # a bind mount of what is walked already
        taken.setdefault(device, []).append(root)
        chosen.append(point)
    return sorted(chosen)


def below(path, places):
    """Whether `path` is one of `places` or in one of them."""
    return any(path == place or path.startswith(place + '/') for place in places)


def globs(patterns):
    """A function that tells whether a path matches one of the shell patterns; * matches / too."""
    if not patterns:
        return lambda path: False
    return re.compile('|'.join(fnmatch.translate(pattern) for pattern in patterns)).match


# --- the walk -----------------------------------------------------------------------------------------------

class Walk:
    """What one process sees of the tree. `found` and `counts` of several are added up."""

    def __init__(self, stop, settings):
        self.stop, self.keep = stop, settings['report']
        self.writable_allowed = globs(settings['world_writable_allowed'])
        self.unowned_allowed = globs(settings['unowned_allowed'])
        self.found = {'writable': [], 'sticky': [], 'setid': [], 'capable': [], 'unowned': [], 'unreadable': []}
        self.counts = {'files': 0, 'directories': 0, 'unowned': 0, 'unreadable': 0}
        self.users, self.groups = Known(pwd.getpwuid, '/etc/subuid'), Known(grp.getgrgid, '/etc/subgid')

    def root(self, path):
        """Look at a mount point itself; whether it is a directory to go on into."""
        try:
            info = os.lstat(path)
        except OSError:
            return False
        if not stat.S_ISDIR(info.st_mode):
            return False  # a single file, bound into a container
        self.directory(path, info)
        return True

    def visit(self, path, todo):
        """Look at everything in the directory `path`; directories in it are appended to `todo`."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            try:
                descriptor = os.open(path, flags | os.O_NOATIME)
            except PermissionError:  # as another's in a user namespace
                descriptor = os.open(path, flags)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self.count('unreadable', path)
            return
        front, files, users, groups = path.rstrip('/') + '/', 0, self.users.fine, self.groups.fine
        try:
            device = os.fstat(descriptor).st_dev
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    try:
                        info = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # gone, or a mount that does not answer
                    mode = info[0]
                    if mode & 0o170000 == 0o040000:
                        child = front + entry.name
                        if child in self.stop or child.endswith(NESTED):
                            continue
                        if info[2] != device and info[1] != 256:
                            continue  # mounted since; 256 is the root of a subvolume of btrfs, which belongs here
                        todo.append(child)
                        self.directory(child, info)
                        continue
                    files += 1
                    if mode & 0o6113 or info[4] not in users or info[5] not in groups:
                        self.file(front + entry.name, info)
        except OSError:
            self.count('unreadable', path)
        finally:
            os.close(descriptor)
        self.counts['files'] += files
        self.counts['directories'] += 1

    def directory(self, path, info):
        if info[0] & 0o1002 == 0o0002 and not self.writable_allowed(path):
            self.found['sticky'].append((path, info[0], info[4], info[5]))
        self.owner(path, info)

    def file(self, path, info):
        """A file with something about it; what is neither file nor directory may be open to all (sockets, pipes)."""
        mode = info[0]
        if stat.S_ISLNK(mode):
            return
        if stat.S_ISREG(mode):
            if mode & 0o0002 and not self.writable_allowed(path):
                self.found['writable'].append((path, mode, info[4], info[5]))
            if mode & SETID:
                self.found['setid'].append((path, mode, info[4], info[5]))
            if mode & 0o0111:
                with contextlib.suppress(OSError):
                    value = os.getxattr(path, 'security.capability', follow_symlinks=False)
                    self.found['capable'].append((path, value.hex()))
        self.owner(path, info)

    def owner(self, path, info):
        if (info[4] not in self.users or info[5] not in self.groups) and not self.unowned_allowed(path):
            self.count('unowned', path)

    def count(self, what, path):
        self.counts[what] += 1
        if len(self.found[what]) < self.keep:
            self.found[what].append(path)

    def add(self, found, counts):
        for what, items in found.items():
            self.found[what] += items
        for what, number in counts.items():
            self.counts[what] += number


class Known:
    """The ids that mean somebody (`fine`), and those that do not, asked of the name service once each."""

    def __init__(self, lookup, ranges):
        self.lookup, self.fine, self.nobody, self.ranges = lookup, set(), set(), [DYNAMIC]
        with contextlib.suppress(OSError, ValueError), open(ranges, encoding='utf-8', errors='replace') as handle:
            for fields in (line.strip().split(':') for line in handle):
                if len(fields) == 3:
                    self.ranges.append(range(int(fields[1]), int(fields[1]) + int(fields[2])))

    def __contains__(self, number):
        if number not in self.fine and number not in self.nobody:
            try:
                self.lookup(number)
                self.fine.add(number)
            except (KeyError, OverflowError):
                (self.fine if any(number in span for span in self.ranges) else self.nobody).add(number)
        return number in self.fine


def be_nice():
    """Give way to everything else: processor and disk."""
    with contextlib.suppress(OSError):
        os.nice(10)
    number = IOPRIO_SET.get(platform.machine())
    if number and struct.calcsize('P') == 8:
        ctypes.CDLL(None).syscall(number, 1, 0, 3 << 13)  # this process, class idle


def in_child(work):
    """Start work() in a child, which dies with us. Returns (pid, descriptor); the result is read from the latter."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        transaction.die_with_parent()
        os.close(reading)
        try:
            result = work()
        except Exception as exc:  # whatever it is: the parent says so
            result = f'the walk failed: {type(exc).__name__}: {exc}'
        with os.fdopen(writing, 'wb') as handle:
            handle.write(json.dumps(result).encode())
    finally:
        os._exit(0)


def outcome(pid, data):
    """What in_child's work returned, of the bytes that were read; WalkError where there is nothing or it failed."""
    os.waitpid(pid, 0)
    try:
        result = json.loads(data.decode())
    except ValueError:
        result = 'the walk was killed'
    if isinstance(result, str):
        raise WalkError(result)
    return result


def scan(places, stop, settings):
    """Walk the mount points `places`, by several processes where it takes long. Returns (found, counts)."""
    walk = Walk(stop, settings)
    todo = collections.deque(place for place in places if walk.root(place))
    workers = min(MAX_WORKERS, len(os.sched_getaffinity(0)))
    began = time.monotonic()
    while todo:
        walk.visit(todo.popleft(), todo)
        if workers > 1 and len(todo) >= 4 * workers and time.monotonic() - began > SPLIT_AFTER:
            share(walk, list(todo), workers, stop, settings)
            break
    return walk.found, walk.counts


def share(walk, todo, workers, stop, settings):
    """Let `workers` children walk the directories `todo`, each taking the next part when it is done with one."""
    parts = min(len(todo), 4096)
    tickets, desk = os.pipe()
    os.set_inheritable(tickets, True)
    os.write(desk, b''.join(number.to_bytes(4, 'little') for number in range(parts)))
    os.close(desk)

    def work():
        own = Walk(stop, settings)
        ticket = os.read(tickets, 4)
        while ticket:
            stack = todo[int.from_bytes(ticket, 'little')::parts]
            while stack:
                own.visit(stack.pop(), stack)
            ticket = os.read(tickets, 4)
        return own.found, own.counts

    children = [in_child(work) for dummy in range(workers)]
    os.close(tickets)
    for pid, reading in children:
        with os.fdopen(reading, 'rb') as handle:
            walk.add(*outcome(pid, handle.read()))


def walk_host(settings):
    """Walk this host; the result of :func:`scan` as one dict with `seconds` and `places`.

    `settings`: skip, world_writable_allowed, unowned_allowed (lists), report (how many names to keep of a kind),
    time_limit (seconds). Raises WalkError where that is over, or the walk died.
    """
    began = time.monotonic()
    with open('/proc/self/mountinfo', encoding='utf-8', errors='surrogateescape') as handle:
        known = mounts(handle.read())
    skip = [os.path.normpath(path) for path in (*SKIP, *settings['skip'])]
    places = [place for place in roots(known, skip) if os.path.isdir(place)]

    def work():
        os.setpgid(0, 0)
        be_nice()
        return scan(places, {*skip, *known}, settings)

    pid, reading = in_child(work)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    data, until = bytearray(), began + settings['time_limit']
    with os.fdopen(reading, 'rb', buffering=0) as handle:
        while True:
            if not select.select([handle], [], [], max(0, until - time.monotonic()))[0]:
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
                raise WalkError(f'the walk over {", ".join(places)} was not done within {settings["time_limit"]} s and '
                                'was ended; nothing was changed. Raise integrity_time_limit, or name what need not be '
                                'looked at in integrity_skip')
            part = handle.read(1 << 20)
            if not part:
                break
            data += part
    found, counts = outcome(pid, bytes(data))
    return dict(found, counts=counts, places=places, seconds=round(time.monotonic() - began, 3))


# --- packages -----------------------------------------------------------------------------------------------

def names(path):
    """The names a package may know `path` by: before and after /bin and the like became links."""
    short = [path[4:]] if path.startswith(MERGED) and os.path.islink('/' + path.split('/')[2]) else []
    return [path] + short


def lines(path):
    """The lines of a file, as text of whatever bytes; none where there is no such file."""
    try:
        with open(path, 'rb') as handle:
            return os.fsdecode(handle.read()).splitlines()
    except OSError:
        return []


def packages(paths):
    """{path: (package, the name it knows the path by)} of those of `paths` that a Debian package brought."""
    wanted = {os.fsencode(name): path for path in paths for name in names(path)}
    moved = lines(DIVERSIONS)
    for original, diverted in zip(moved[::3], moved[1::3]):
        if os.fsencode(diverted) in wanted:
            wanted[os.fsencode(original)] = wanted[os.fsencode(diverted)]
    owners = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(INFO) if wanted else []:
            if name.endswith('.list'):
                with open(os.path.join(INFO, name), 'rb') as handle:
                    for hit in wanted.keys() & set(handle.read().split(b'\n')):
                        owners[wanted[hit]] = (name[:-5].partition(':')[0], os.fsdecode(hit))
    return owners


def overrides():
    """{path: (user, group, mode)} of what the administrator told dpkg to keep."""
    fields = (line.split(' ', 3) for line in lines(OVERRIDES))
    return {part[3]: (part[0], part[1], int(part[2], 8)) for part in fields if len(part) == 4 and part[2].isdigit()}


def capability_names(value):
    """The names of what the security.capability attribute `value` grants."""
    words = struct.unpack(f'<{len(value) // 4}I', value[:len(value) // 4 * 4])
    bits = 0
    if len(words) >= 3:
        bits = words[1] | words[2] | (((words[3] | words[4]) << 32) if len(words) >= 5 else 0)
    return ['cap_' + (CAPABILITIES[n] if n < len(CAPABILITIES) else str(n)) for n in range(64) if bits >> n & 1]


# --- what is to change --------------------------------------------------------------------------------------

class Plan:
    """Collects entries of kind `rights`, one a path, and what is said of those that cannot be."""

    def __init__(self):
        self.entries, self.notes, self.taken = {}, [], {}

    def change(self, path, alter, optional=True):
        """Have `path` changed as alter(rights) says, should it still differ; whether there is something to change."""
        try:
            with transaction.anchored(path) as place:
                now = self.look(place, path)
        except OSError:
            return False  # gone, or not to be reached but by a link of somebody's
        if now is None:
            return False
        before = self.entries[path]['before'] if path in self.entries else now
        after = alter(dict(self.entries[path]['after'] if path in self.entries else now))
        if transaction.same(before, after):
            return False
        optional = optional and self.entries.get(path, {'spec': {'optional': True}})['spec']['optional']
        self.entries[path] = dict(path=path, action='mode', before=before, after=after, data=None,
                                  spec={'optional': optional})
        return True

    def look(self, place, path):
        """Owner and mode of `place`; None, and a note, where it cannot be changed."""
        descriptor = transaction.open_plain(place)
        try:
            info = os.fstat(descriptor)
            if not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
                return None
            if self.taken.setdefault((info.st_dev, info.st_ino), path) != path:
                return None  # another name of a file that is changed already
            reason = ''
            with contextlib.suppress(OSError):
                if struct.unpack('I', fcntl.ioctl(descriptor, GET_FLAGS, b'\0' * 8)[:4])[0] & UNCHANGEABLE:
                    reason = 'is marked unchangeable (chattr)'
            if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
                reason = 'is on a read-only file system'
            if reason:
                self.notes.append(f'{transaction.readable(path)} {reason}, and stays as it is')
                return None
            return transaction.rights(descriptor, bool(info.st_mode & SETID) and stat.S_ISREG(info.st_mode))
        finally:
            os.close(descriptor)


def system_files(plan, wanted):
    """Owner, group and at most the mode that `wanted` names for files; {path, owner, group (in order), mode}."""
    for one in wanted:
        groups = [gid for gid in (number(grp.getgrnam, name) for name in one['group']) if gid is not None]
        uid, most = number(pwd.getpwnam, one['owner']), int(one['mode'], 8)
        if uid is None or not groups:
            plan.notes.append(f'{one["path"]} stays as it is: its owner or group is not on this host')
            continue

        def alter(state, uid=uid, groups=groups, most=most):
            return dict(state, uid=uid, mode=state['mode'] & most,
                        gid=state['gid'] if state['gid'] in groups else groups[0])

        plan.change(one['path'], alter, optional=False)


def number(lookup, name):
    """The uid or gid of `name`; None where the host does not know it."""
    try:
        return lookup(name)[2]
    except KeyError:
        return None


def judge_setid(found, known, allowed):
    """Programs with set-id bits or capabilities that nobody declared: [{path, kind, mode, owner, package, why}].

    `known` is what packages of the distribution are known to bring: {path: bits or capabilities}. That a package owns
    a file is not enough: dpkg keeps no modes, and `chmod u+s /bin/bash` leaves the owner as it was.
    """
    programs = [(path, 'setid', mode & 0o7777, owner) for path, mode, owner, dummy in found['setid']]
    programs += [(path, 'capabilities', capability_names(bytes.fromhex(value)), 0) for path, value in found['capable']]
    suspects, declared, owners, strange = globs(allowed), overrides(), packages([item[0] for item in programs]), []
    for path, kind, rights, uid in sorted(programs, key=lambda item: item[:2]):
        if suspects(path):
            continue
        package, name = owners.get(path, ('', path))
        usual = known.get(re.sub('^/usr/lib/[^/]+-linux-[^/]+/', '/usr/lib/*/', path))
        if kind == 'setid':
            override = next((declared[other][2] for other in names(path) if other in declared), 0)
            bits, common = rights & SETID, int(usual, 8) if isinstance(usual, str) else 0
            if not bits & ~override or (package and not bits & ~common):
                continue
            shown = format(rights, '04o')
        else:
            if package and isinstance(usual, list) and not set(rights) - set(usual):
                continue
            shown = ','.join(rights)
        why = f'of package {package}, which is not known to grant that' if package else 'of no package'
        strange.append(dict(path=path, kind=kind, rights=shown, owner=uid, package=package, name=name, why=why))
    return strange


def remember(strange, found, now, write):
    """When each program with rights of its own was first seen. Returns (since when that is kept, those new by now)."""
    paths = sorted({item[0] for item in found['setid'] + found['capable']})
    try:
        with open(SEEN, encoding='utf-8') as handle:
            seen = json.load(handle)
        since, before = str(seen['since']), dict(seen['programs'])
    except (OSError, ValueError, KeyError, TypeError):
        since, before = now, None
    programs = {path: (before or {}).get(path, now) for path in paths}
    for item in strange:
        item['since'] = programs[item['path']]
    if write and programs != before:
        os.makedirs(STATE, mode=0o700, exist_ok=True)
        os.chmod(STATE, 0o700)
        text = json.dumps(dict(since=since, programs=programs), indent=1, sort_keys=True)
        transaction.write_file(SEEN, text.encode())
    return since, [path for path in paths if programs[path] > since]


def removed(plan, paths):
    """Take set-id bits from programs, and tell dpkg to leave it so: the wish for its file of overrides, or None."""
    owners = packages(paths)
    text, changed = lines(OVERRIDES), False
    for path in paths:
        try:
            info = os.lstat(path)
        except OSError:
            continue
        if not stat.S_ISREG(info.st_mode):
            plan.notes.append(f'{path} is no file on this host, and stays as it is')
            continue
        plan.change(path, without_setid, optional=False)
        name = owners.get(path, ('', ''))[1]
        before = [line for line in text if line.split(' ', 3)[3:] == [name]]
        if not name or (before and not int(before[0].split(' ')[2], 8) & SETID):
            continue
        mode = stat.S_IMODE(info.st_mode) & ~SETID
        text = [line for line in text if line not in before] + [f'{owner(info)} {mode:o} {name}']
        changed = True
    if not changed:
        return None
    current = transaction.describe(OVERRIDES)
    return dict(path=OVERRIDES, content='\n'.join(text) + '\n', mode=format(current.get('mode', 0o644), '04o'),
                owner=current.get('uid', 0), group=current.get('gid', 0))


def without_setid(state):
    """The rights `state` less the set-id bits."""
    return dict(state, mode=state['mode'] & ~SETID)


def owner(info):
    """User and group of a file as dpkg's file of overrides writes them."""
    def name(lookup, value):
        try:
            return lookup(value)[0]
        except KeyError:
            return f'#{value}'
    return f'{name(pwd.getpwuid, info.st_uid)} {name(grp.getgrgid, info.st_gid)}'


def make_plan(params, found, write):
    """What the module wants of a host on which the walk `found` that: arguments of transaction.transact."""
    controls, plan, report = set(params['controls']), Plan(), params['report']
    if 'integrity.system_files' in controls:
        system_files(plan, params['system_files'])
    fixed = {}
    for control, what, alter in (
            ('integrity.world_writable', 'writable', lambda state: dict(state, mode=state['mode'] & ~0o002)),
            ('integrity.sticky_bit', 'sticky', lambda state: dict(state, mode=state['mode'] | stat.S_ISVTX))):
        wanted = control in controls and (what == 'sticky' or params['fix_world_writable'])
        fixed[what] = sum(plan.change(item[0], alter) for item in sorted(found[what])) if wanted else 0
    overriding = removed(plan, params['setuid_removed']) if 'integrity.setuid_removed' in controls else None
    strange = judge_setid(found, params['setuid_known'], params['setuid_allowed'])
    since, new = remember(strange, found, transaction.now(), write)
    if params['setuid_strip'] and 'integrity.setuid' in controls:
        for item in strange:
            if item['kind'] == 'setid':
                plan.change(item['path'], without_setid)
    entries = transaction.compare([overriding] if overriding else [])
    entries += [plan.entries[path] for path in sorted(plan.entries)]
    shown = [dict({key: item[key] for key in ('kind', 'rights', 'owner', 'package', 'why', 'since')},
                  path=transaction.readable(item['path'])) for item in strange]
    counts = found['counts']
    extra = dict(
        notes=plan.notes[:report],
        summary=dict(counts, seconds=found['seconds'], places=found['places'], world_writable=len(found['writable']),
                     not_sticky=len(found['sticky']), setuid=len(found['setid']) + len(found['capable']),
                     setuid_unknown=len(strange), setuid_new=len(new), setuid_since=since, fixed=sum(fixed.values())),
        world_writable=readable(found['writable'], report), not_sticky=readable(found['sticky'], report),
        unowned=[transaction.readable(path) for path in sorted(found['unowned'])[:report]],
        unreadable=[transaction.readable(path) for path in sorted(found['unreadable'])[:report]],
        setuid_unknown=shown[:report], setuid_new=[transaction.readable(path) for path in new[:report]])
    return dict(entries=entries, extra_result=extra)


def readable(items, report):
    """The paths of the first of `items`, to be shown."""
    return [transaction.readable(item[0]) for item in sorted(items)[:report]]


# --- the arguments of a module that asks for all this -------------------------------------------------------

SYSTEM_FILE = dict(
    path=dict(type='path', required=True),
    owner=dict(type='str', default='root'),
    group=dict(type='list', elements='str', default=['root']),
    mode=dict(type='str', required=True),
)
ARGS = dict(
    system_files=dict(type='list', elements='dict', default=[], options=SYSTEM_FILE),
    fix_world_writable=dict(type='bool', default=True),
    world_writable_allowed=dict(type='list', elements='str', default=[]),
    unowned_allowed=dict(type='list', elements='str', default=[]),
    setuid_allowed=dict(type='list', elements='str', default=[]),
    setuid_known=dict(type='dict', default={}),
    setuid_strip=dict(type='bool', default=False),
    setuid_removed=dict(type='list', elements='path', default=[]),
    skip=dict(type='list', elements='path', default=[]),
    time_limit=dict(type='int', default=600),
    report=dict(type='int', default=100),
)
