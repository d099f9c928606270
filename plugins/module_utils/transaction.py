# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host half of a confirmed change: files and commands applied as one transaction, or not at all.

Standard library only and self-contained: a change leaves a copy of this very file on the host, which the
timer (``revert ID``) and the boot unit (``boot``) run when nobody confirms.

A change is a directory under :data:`JOURNAL` holding ``change.json`` (what, who, when, what each file was),
``before/`` (the originals) and ``state``, one word that is replaced atomically::

    staged -> armed -> applied -> confirmed -> undone
    armed or applied -> reverting -> reverted
    abandoned: the controller gave it up before it was armed

Nothing on the host is touched before ``armed`` is on the disk, and every state between ``armed`` and
``confirmed`` is one from which :func:`revert` leads back to the old files. Whoever finds ``reverting`` goes on.
"""
from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import fcntl
import grp
import hashlib
import inspect
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time

ROOT = '/var/lib/rampart'
JOURNAL = ROOT + '/changes'
PROGRAM = ROOT + '/transaction.py'
UNIT_DIR = '/etc/systemd/system'
BOOT_UNIT = UNIT_DIR + '/rampart-revert.service'
BOOT_LINK = UNIT_DIR + '/sysinit.target.wants/rampart-revert.service'
LOCK = ROOT + '/lock'
ACCOUNT_FILES = ('/etc/passwd', '/etc/shadow', '/etc/group', '/etc/gshadow', '/etc/subuid', '/etc/subgid')
PENDING = ('armed', 'applied', 'reverting')
COMMAND_TIMEOUT = 60
SHOWN = 1000  # files that a result or a listing names; the journal itself knows them all
SAFE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

TRANSACTION_ARGS = dict(
    role=dict(type='str', default=''),
    controls=dict(type='list', elements='str', default=[]),
    confirm=dict(type='str', choices=['connection', 'none'], default='connection'),
    confirm_timeout=dict(type='int', default=60),
    prove=dict(type='list', elements='list', default=[]),
    keep=dict(type='int', default=200),
    keep_days=dict(type='int', default=365),
    _change=dict(type='str'),
    _run=dict(type='str', default=''),
    _who=dict(type='str', default=''),
)


class TransactionError(Exception):
    """A change that cannot be made or had to be taken back; the message says what the host looks like now."""


# --- small file helpers -------------------------------------------------------------------------------------

def fsync_dir(path):
    """Flush the directory `path`, so that a rename in it survives a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path, data, mode=0o600):
    """Replace our own file `path` by `data` (bytes) atomically and durably."""
    temp = path + '.new'
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(fd, 'wb') as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(temp, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temp)
        raise
    fsync_dir(os.path.dirname(path))


def read_file(path):
    """The content of the file `path`; neither a link put in its place nor a pipe is read."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), 'rb') as handle:
        return handle.read()


def readable(path):
    """`path` as a person can be shown it: one line, and bytes that are no UTF-8 as backslash escapes."""
    text = os.fsencode(path).decode('utf-8', 'backslashreplace')
    return text if text.isprintable() else ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Diverted(OSError):
    """On the way to a file lies a link that somebody other than root made."""


def open_directory(path, make=False):
    """A descriptor of the directory `path`, reached through no link but those that root alone could have made.

    With `make`, missing directories are made on the way. Raises Diverted, or OSError as os.open does.
    """
    trusted, flags = {0, os.geteuid()}, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    todo, hops, way = path.split('/'), 0, [os.open('/', flags)]
    try:
        while todo:
            part = todo.pop(0)
            if part == '..' and len(way) > 1:
                os.close(way.pop())
            if part in ('', '.', '..'):
                continue
            try:
                way.append(os.open(part, flags, dir_fd=way[-1]))
            except FileNotFoundError:
                if not make:
                    raise
                os.mkdir(part, 0o755, dir_fd=way[-1])
                todo.insert(0, part)
            except OSError:
                info, hops = os.stat(part, dir_fd=way[-1], follow_symlinks=False), hops + 1
                if not stat.S_ISLNK(info.st_mode):
                    raise
                if hops > 20 or info.st_uid not in trusted or os.fstat(way[-1]).st_uid not in trusted:
                    raise Diverted(errno.ELOOP, 'a link that root did not make lies on the way', path) from None
                target = os.readlink(part, dir_fd=way[-1])
                while target.startswith('/') and len(way) > 1:
                    os.close(way.pop())
                todo = target.split('/') + todo
        return way.pop()
    finally:
        for descriptor in way:
            os.close(descriptor)


@contextlib.contextmanager
def anchored(path, make=False):
    """`path` by way of a descriptor of its directory: whoever owns a parent cannot divert us once we are there."""
    descriptor = open_directory(os.path.dirname(path), make)
    try:
        anchor = f'/proc/{os.getpid()}/fd/{descriptor}'  # not /proc/self: a child that we start has other descriptors
        yield os.path.join(anchor if os.path.isdir(anchor) else os.path.dirname(path), os.path.basename(path))
    finally:
        os.close(descriptor)


def xattrs(path):
    """Extended attributes of `path` (ACLs, SELinux context) as {name: base64}; empty where there are none."""
    found = {}
    try:
        for name in os.listxattr(path, follow_symlinks=False):
            with contextlib.suppress(OSError):
                found[name] = base64.b64encode(os.getxattr(path, name, follow_symlinks=False)).decode()
    except OSError:
        pass
    return found


def describe(path):
    """What stands at `path`, a dict: kind (absent, file, link, directory, other), mode, uid, gid, mtime, sha256, …"""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {'kind': 'absent'}
    state = {'mode': stat.S_IMODE(info.st_mode), 'uid': info.st_uid, 'gid': info.st_gid, 'mtime': info.st_mtime_ns}
    if stat.S_ISREG(info.st_mode):
        state.update(kind='file', sha256=hashlib.sha256(read_file(path)).hexdigest(), xattrs=xattrs(path))
    elif stat.S_ISLNK(info.st_mode):
        state.update(kind='link', target=os.readlink(path))
    elif stat.S_ISDIR(info.st_mode):
        state.update(kind='directory', xattrs=xattrs(path))
    else:
        state.update(kind='other')
    return state


def stamp(info):
    """What of a file's stat changes with its content, as one word."""
    return f'{info.st_ino}:{info.st_size}:{info.st_mtime_ns}'


def open_plain(path):
    """A descriptor of the file or directory `path` as such, whatever waits behind it; OSError where it is a link."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def rights(descriptor, digest):
    """Type, owner and mode of an open file or directory, and with `digest` the SHA-256 of the file."""
    info = os.fstat(descriptor)
    state = {'kind': 'rights', 'type': stat.S_IFMT(info.st_mode), 'mode': stat.S_IMODE(info.st_mode),
             'uid': info.st_uid, 'gid': info.st_gid}
    if digest:
        seen = hashlib.sha256()
        with open(descriptor, 'rb', closefd=False) as handle:
            for block in iter(lambda: handle.read(1 << 20), b''):
                seen.update(block)
        state['sha256'] = seen.hexdigest()
    return state


def describe_as(path, record):
    """What stands at `path`, in the terms of `record`: one of kind `rights` knows owner and mode and no content.

    Where bits are to come back that let a file act for its owner, it knows the content too: they are for that alone.
    """
    if record['kind'] != 'rights':
        return describe(path)
    try:
        if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
            descriptor = open_plain(path)
            try:
                return rights(descriptor, 'sha256' in record)
            finally:
                os.close(descriptor)
    except OSError:
        pass
    return describe(path)


def give_rights(path, before, after):
    """Give the file or directory `path` the owner and mode of `after`, in place; False where it is not as `before`."""
    descriptor = open_plain(path)
    try:
        if not same(rights(descriptor, 'sha256' in before), before):
            return False
        if (before['uid'], before['gid']) != (after['uid'], after['gid']):  # takes capabilities away, even if equal
            os.chown(descriptor, after['uid'], after['gid'])
        os.chmod(descriptor, after['mode'])
        return True
    finally:
        os.close(descriptor)


def same(one, other):
    """Whether two descriptions mean the same to a reader of the file: kind, content, owner and mode."""
    if one['kind'] != other['kind']:
        return False
    keys = {'file': ('sha256', 'mode', 'uid', 'gid'), 'directory': ('mode', 'uid', 'gid'), 'link': ('target',),
            'rights': ('type', 'mode', 'uid', 'gid', 'sha256')}
    return all(one.get(key) == other.get(key) for key in keys.get(one['kind'], ()))


def essence(data, ignore):
    """The SHA-256 of what counts in a file's content (bytes): all that the regular expression `ignore` leaves."""
    return hashlib.sha256(re.sub(ignore.encode(), b'', data, flags=re.MULTILINE)).hexdigest()


def as_left(path, current, record):
    """Whether `path`, now as `current` describes it, is as the change that wrote `record` left it."""
    if same(current, record['after']):
        return True
    return (current['kind'] == 'file' and 'essence' in record and essence(read_file(path), record['ignore'])
            == record['essence'] and same(dict(current, sha256=''), dict(record['after'], sha256='')))


def beside(path, change_id):
    """The hidden name next to `path` under which its new content waits; no drop-in directory reads such a name."""
    return os.path.join(os.path.dirname(path), f'.{os.path.basename(path)}.rampart-{change_id}')


def place(temp, wanted, data):
    """Write what `wanted` describes at the unused path `temp`: a file of `data`, or a link; no link is followed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temp)
    if wanted['kind'] == 'link':
        os.symlink(wanted['target'], temp)
        return
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, 'wb') as handle:
        handle.write(data)
        handle.flush()
        dress(handle.fileno(), wanted)
        os.fsync(handle.fileno())


def dress_directory(path, wanted):
    """Like :func:`dress`, for the directory `path`, should it not be a link by now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        dress(descriptor, wanted)
    finally:
        os.close(descriptor)


def dress(target, wanted):
    """Give `target` (a descriptor) the owner, mode, attributes and time that `wanted` records."""
    os.chown(target, wanted['uid'], wanted['gid'])
    os.chmod(target, wanted['mode'])
    for name, value in wanted.get('xattrs', {}).items():
        with contextlib.suppress(OSError):
            os.setxattr(target, name, base64.b64decode(value))
    if wanted.get('mtime'):
        os.utime(target, ns=(wanted['mtime'], wanted['mtime']))


# --- the journal --------------------------------------------------------------------------------------------

class Change:
    """One journal entry. `meta` is change.json; `state` is the word in the state file."""

    def __init__(self, change_id):
        self.id = change_id
        self.dir = os.path.join(JOURNAL, change_id)
        self.meta = {}

    @classmethod
    def load(cls, change_id):
        """The entry `change_id`; TransactionError where there is none or it cannot be read."""
        change = cls(change_id)
        try:
            with open(os.path.join(change.dir, 'change.json'), encoding='utf-8') as handle:
                change.meta = json.load(handle)
        except (OSError, ValueError) as exc:
            raise TransactionError(f'change {change_id} is not in the journal of this host: {exc}') from exc
        return change

    @property
    def state(self):
        try:
            with open(os.path.join(self.dir, 'state'), encoding='ascii') as handle:
                return handle.read().strip()
        except FileNotFoundError:
            return 'staged'

    def set_state(self, word):
        write_file(os.path.join(self.dir, 'state'), word.encode())

    def set_state_safely(self, word):
        """Like set_state, but a full disk must not stop a revert: the word is then written in place."""
        try:
            self.set_state(word)
        except OSError:
            with contextlib.suppress(OSError), open(os.path.join(self.dir, 'state'), 'r+b') as handle:
                handle.write(word.encode())
                handle.truncate()

    def save(self):
        write_file(os.path.join(self.dir, 'change.json'), json.dumps(self.meta, indent=1, sort_keys=True).encode())

    def blob(self, index, side='before'):
        """The original content of file number `index`, or what the change made of a file of accounts (`after`)."""
        with open(os.path.join(self.dir, side, str(index)), 'rb') as handle:
            return handle.read()

    def remaining(self):
        """Seconds until the timer fires; None after a reboot. Monotonic: a clock that jumps changes nothing."""
        if self.meta.get('boot_id') != boot_id() or 'deadline' not in self.meta:
            return None
        return self.meta['deadline'] - time.monotonic()

    def summary(self):
        """The entry as a listing shows it: no contents."""
        files = self.meta.get('files', [])
        more = len(files) - SHOWN
        return dict(id=self.id, state=self.state, kind=self.meta.get('kind', 'change'), role=self.meta.get('role', ''),
                    run=self.meta.get('run', ''), who=self.meta.get('who', ''), when=self.meta.get('when', ''),
                    controls=self.meta.get('controls', []), undoes=self.meta.get('undoes', []),
                    notes=self.meta.get('notes', []) + ([f'and {more} more files'] if more > 0 else []),
                    files=[dict(path=readable(f['path']), action=f['action']) for f in files[:SHOWN]])


def changes(states=None):
    """The journal's readable entries, oldest first; only those in one of `states` where given.

    Their order is counted, not read off a clock: clocks jump, and ids come from more than one controller.
    """
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(JOURNAL):
            if states is None or Change(name).state in states:
                with contextlib.suppress(TransactionError):
                    found.append(Change.load(name))
    return sorted(found, key=lambda change: (change.meta.get('sequence', 0), change.id))


def sweep():
    """Forget what was staged, or half forgotten, by a run that died (the lock is held, so nobody stages now)."""
    for name in os.listdir(JOURNAL):
        change = Change(name)
        if change.state == 'staged' or not os.path.exists(os.path.join(change.dir, 'change.json')):
            shutil.rmtree(change.dir, ignore_errors=True)
            disarm(change)


def boot_id():
    """The kernel's id of this boot; empty where /proc has none."""
    try:
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as handle:
            return handle.read().strip()
    except OSError:
        return ''


@contextlib.contextmanager
def locked(patience, who=''):
    """Hold the host's one lock; TransactionError after `patience` seconds, naming who holds it.

    The kernel drops it with the process.
    """
    os.makedirs(JOURNAL, mode=0o700, exist_ok=True)
    for path in (ROOT, JOURNAL):
        os.chmod(path, 0o700)
    fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    holder = os.pread(fd, 1000, 0).decode(errors='replace') or 'another run'
                    raise TransactionError(f'{holder} is at work on this host; nothing was done, '
                                           'try again later') from None
                time.sleep(0.2)
        with contextlib.suppress(OSError):  # a full disk: then it has no name
            os.ftruncate(fd, 0)
            os.pwrite(fd, who.encode(), 0)
        yield
    finally:
        os.close(fd)


def lock_holders():
    """The processes that hold the lock, as the kernel knows them."""
    inode = str(os.stat(LOCK).st_ino)
    with open('/proc/locks', encoding='ascii') as handle:
        rows = [line.split() for line in handle]
    return [int(row[4]) for row in rows if row[1] == 'FLOCK' and row[5].endswith(':' + inode) and int(row[4]) > 0]


@contextlib.contextmanager
def account_lock(paths):
    """Hold the lock that useradd and passwd respect while account files are replaced."""
    if not set(paths) & set(ACCOUNT_FILES):
        yield
        return
    fd = os.open('/etc/.pwd.lock', os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + 15
        while True:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if exc.errno not in (errno.EACCES, errno.EAGAIN) or time.monotonic() >= until:
                    raise TransactionError('the account files are locked by another program (/etc/.pwd.lock)') from exc
                time.sleep(0.2)
        yield
    finally:
        os.close(fd)


# --- commands -----------------------------------------------------------------------------------------------

def die_with_parent():
    """In a child about to become a command: end when the process that started it is killed (PR_SET_PDEATHSIG).

    Otherwise a command that outlives its run could still activate the new files after they were taken back.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run(argv, timeout=COMMAND_TIMEOUT):
    """Run `argv`; (rc, what it said). A missing program is rc 127, one that outlasts `timeout` seconds rc 124.

    What it says goes to memory, not into a pipe: a daemon that it leaves behind would hold that open.
    """
    env = dict(os.environ, PATH=SAFE_PATH, LC_ALL='C', SYSTEMD_PAGER='')
    with os.fdopen(os.memfd_create('said'), 'w+b') as output:
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env,
                                       start_new_session=True, preexec_fn=die_with_parent)
        except FileNotFoundError:
            return 127, f'{argv[0]}: not found'
        except PermissionError as exc:
            return 126, str(exc)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return 124, f'no answer within {timeout:.0f} seconds'
        output.seek(0)
        return process.returncode, output.read().decode(errors='replace').strip()


def must(argv, what, timeout=COMMAND_TIMEOUT):
    """Run `argv`; TransactionError with the command's own words where it fails."""
    rc, said = run(argv, max(1, timeout))
    if rc != 0:
        raise TransactionError(f'{what} failed: `{" ".join(argv)}` returned {rc}: {said or "(no output)"}')


def has_systemd():
    """Whether systemd is the running init."""
    return os.path.isdir('/run/systemd/system')


def offline():
    """Whether nothing runs here that could be cut off or activated: an image built in a chroot or without an init."""
    try:
        here, init = os.stat('/'), os.stat('/proc/1/root/')
        with open('/proc/1/comm', encoding='ascii') as handle:
            comm = handle.read().strip()
    except OSError:
        return not has_systemd()
    if (here.st_dev, here.st_ino) != (init.st_dev, init.st_ino):
        return True
    return comm not in ('systemd', 'init', 'openrc-init', 'runit', 's6-svscan')


# --- arming -------------------------------------------------------------------------------------------------

BOOT_UNIT_TEXT = """[Unit]
Description=Take back changes that were never confirmed
DefaultDependencies=no
RequiresMountsFor=%(root)s /etc
After=local-fs.target
Before=sysinit.target network-pre.target nftables.service rampart-firewall.service ssh.service sshd.service ssh.socket

[Service]
Type=oneshot
ExecStart=%(python)s -I %(program)s boot
"""


def arm(change):
    """See to it that `change` is reverted when its time is up or the host restarts, whoever is killed meanwhile."""
    write_file(PROGRAM, inspect.getsource(sys.modules[__name__]).encode())
    seconds = change.meta['confirm_timeout']
    command = [sys.executable, '-I', PROGRAM, 'revert', change.id]
    if has_systemd():
        # The timer first: it also clears the boot unit away, should we die in between
        must(['systemd-run', '--quiet', '--collect', '--unit=rampart-revert-' + change.id, f'--on-active={seconds}',
              '--timer-property=AccuracySec=1s', '--property=Restart=on-failure', '--property=RestartSec=2',
              '--property=StartLimitIntervalSec=0',
              f'--description=Take back change {change.id} unless confirmed'] + command, 'arming the timed revert')
        os.makedirs(os.path.dirname(BOOT_LINK), mode=0o755, exist_ok=True)
        text = BOOT_UNIT_TEXT % {'python': sys.executable, 'program': PROGRAM, 'root': ROOT}
        write_file(BOOT_UNIT, text.encode(), 0o644)
        if not os.path.islink(BOOT_LINK):
            os.symlink(BOOT_UNIT, BOOT_LINK)
        fsync_dir(os.path.dirname(BOOT_LINK))
        return
    if os.fork() == 0:  # the child's child outlives the connection that started it
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(3, 1024)
        time.sleep(seconds)
        os.execv(command[0], command)
    os.wait()


def clear_boot_unit(but=''):
    """Take the boot unit away once nothing is pending, the change `but` aside."""
    if not any(other.id != but for other in changes(PENDING)):
        for path in (BOOT_LINK, BOOT_UNIT, BOOT_UNIT + '.new'):
            with contextlib.suppress(OSError):
                os.unlink(path)


def disarm(change):
    """Stop the timer of `change`, and take the boot unit away once nothing is pending."""
    if not has_systemd():
        return
    clear_boot_unit(change.id)
    # The service itself may be the one that runs this: stop the timer only.
    run(['systemctl', 'stop', f'rampart-revert-{change.id}.timer'])


# --- restoring ----------------------------------------------------------------------------------------------

def restore_one(change, index, entry):
    """Put `entry` back as it was before `change`. Safe to repeat."""
    kind, away = entry['before']['kind'], kept(change, entry['path'])
    if entry.get('untouched'):
        return
    try:
        with anchored(entry['path'], make=kind in ('file', 'link')) as path:
            restore_at(path, change, index, entry, away)
    except FileNotFoundError:
        if kind not in ('absent', 'rights'):
            raise


def restore_at(path, change, index, entry, away):
    """The same, at `path`, which leads to the entry's place; `away` is where things of that place are kept."""
    before, current = entry['before'], describe_as(path, entry['before'])
    if same(current, before) and not os.path.isdir(away):
        return
    if before['kind'] == 'rights':
        if (current['kind'] == 'rights' and current['type'] == before['type']
                and current['uid'] in (before['uid'], entry['after']['uid'])
                and current.get('sha256') == before.get('sha256')):  # else it is another file by now
            give_rights(path, current, before)
        return
    if current['kind'] == 'file' and not same(current, entry['after']):
        with contextlib.suppress(OSError):  # somebody wrote to it since: nothing is lost
            os.makedirs(os.path.dirname(away), mode=0o700, exist_ok=True)
            write_file(away, read_file(path))
    if before['kind'] == 'directory':
        if os.path.isdir(away):
            put_back(away, path, change)
        elif current['kind'] == 'absent':
            os.mkdir(path)
        dress_directory(path, before)
        return
    if before['kind'] == 'absent':
        remove(path, away)
        return
    data = change.blob(index) if before['kind'] == 'file' else b''
    temp = beside(path, change.id)
    try:
        place(temp, before, data)
        os.rename(temp, path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            os.unlink(temp)
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT) or before['kind'] != 'file' or current['kind'] != 'file':
            raise
        # a full disk: the blocks that the new content held must do
        with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), 'r+b') as handle:
            handle.truncate(0)
            handle.write(data)
            handle.flush()
            dress(handle.fileno(), before)
            os.fsync(handle.fileno())
    fsync_dir(os.path.dirname(path))


def kept(change, path):
    """Where `change` keeps what people had put at `path`, a directory or a file that it takes away."""
    return os.path.join(change.dir, 'kept', path.strip('/').replace('/', '_'))


def copy_tree(source, target):
    """Copy a directory with everything that it has, all of it or nothing at `target`."""
    temp = target + '.new'
    shutil.rmtree(temp, ignore_errors=True)
    rc, said = run(['cp', '--archive', '--no-target-directory', source, temp], 3600)
    if rc != 0:
        shutil.rmtree(temp, ignore_errors=True)
        raise OSError(errno.EIO, said, source)
    os.sync()
    os.rename(temp, target)


def keep_tree(path, target):
    """Move the directory `path` into the journal, from another file system too. Safe to repeat."""
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    if not os.path.isdir(target):
        try:
            os.rename(path, target)
            return
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
        copy_tree(path, target)
    shutil.rmtree(path)


def put_back(source, path, change):
    """Move a directory that :func:`keep_tree` took out of the journal again. Safe to repeat."""
    temp = beside(path, change.id)
    try:
        os.rename(source, path)
        return
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST):
            raise
    copy_tree(source, temp)
    shutil.rmtree(path, ignore_errors=True)  # what is left of it where keep_tree did not get to its end
    os.rename(temp, path)
    shutil.rmtree(source)


def remove(path, away):
    """Take `path` away. A directory that is not empty is kept in the journal, at `away`: nothing is lost."""
    if not os.path.isdir(path) or os.path.islink(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    else:
        try:
            os.rmdir(path)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            keep_tree(path, away)
    with contextlib.suppress(FileNotFoundError):
        fsync_dir(os.path.dirname(path))


def restore_all(change):
    """Restore every file of `change`, the last first; every one is tried whatever fails before.

    Returns what failed and must be tried again, and what somebody has put out of our reach.
    """
    entries, diverted = change.meta['files'], []
    for entry in entries:  # first, as they take up room on what may be a full disk
        if entry['before']['kind'] == 'rights':
            continue
        with contextlib.suppress(OSError), anchored(beside(entry['path'], change.id)) as temp:
            for litter in (temp, temp + '.new'):
                with contextlib.suppress(OSError):
                    os.unlink(litter)
                shutil.rmtree(litter, ignore_errors=True)
    todo, troubles = list(reversed(list(enumerate(entries)))), {}
    for again in (False, True):  # what found no room at first may find it once others gave theirs back
        for index, entry in [(i, e) for i, e in todo if not again or i in troubles]:
            troubles.pop(index, None)
            try:
                restore_one(change, index, entry)
            except Diverted as exc:  # by whoever owns the way there; the host must not wait for them for ever
                diverted += [str(exc)] if not again else []
            except OSError as exc:
                troubles[index] = '{}: {}'.format(entry['path'], exc)
    return list(troubles.values()), diverted


def way_back(meta):
    """The commands that activate the old files: `revert` where the role gave it, else `activate` again."""
    return meta['activate'] if meta.get('revert') is None else meta['revert']


def revert(change, reason, booting=False):
    """Lead the host back to what it was before `change` (the lock is held). Returns what went wrong on the way.

    Where a file cannot be restored the change stays ``reverting`` and armed: the timer, the next run and the boot
    unit try again. At boot no command runs, the services start after us.
    """
    change.set_state_safely('reverting')
    reason = change.meta.get('reverted', {}).get('reason', reason)
    accounts = [entry for entry in change.meta['files'] if entry['path'] in ACCOUNT_FILES]
    try:
        # only where it matters: whoever holds that lock must not delay the rest
        with account_lock([e['path'] for e in accounts if not same(describe_as(e['path'], e['before']), e['before'])]):
            stuck, troubles = restore_all(change)
    except TransactionError:  # whoever holds the lock must not keep the host half changed
        stuck, troubles = restore_all(change)
    if booting:
        run(['systemctl', 'daemon-reload'])
    elif change.meta.get('activated', True):
        for argv in way_back(change.meta):
            rc, said = run(argv)
            if rc != 0:
                troubles.append(f'`{" ".join(argv)}` returned {rc}: {said}')
    change.meta['reverted'] = dict(reason=reason, troubles=stuck + troubles, when=now())
    with contextlib.suppress(OSError):
        change.save()
    if not stuck:
        change.set_state_safely('reverted')
        disarm(change)
    return stuck + troubles


def now():
    """UTC, ISO 8601."""
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())


# --- wishes -------------------------------------------------------------------------------------------------

def identity(value, lookup, field, what):
    """A user or group given by name or number, as a number."""
    text = str(value)
    if text.isdigit():
        return int(text)
    try:
        return getattr(lookup(text), field)
    except KeyError:
        raise TransactionError(f'{what} {text} does not exist on this host') from None


def to_wish(spec):
    """One entry of `files` as (path, wanted description, content or None); TransactionError names what is wrong."""
    path = spec['path']
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise TransactionError(f'files: path must be absolute and plain: {path!r}')
    kind = spec.get('state') or 'file'
    if kind == 'absent':
        return path, {'kind': 'absent'}, None
    if kind == 'link':
        if not spec.get('target'):
            raise TransactionError(f'files: {path} is a link and has no target')
        return path, {'kind': 'link', 'target': spec['target'], 'mode': 0o777, 'uid': 0, 'gid': 0}, None
    default_mode = '0755' if kind == 'directory' else '0644'
    try:
        mode = int(str(spec.get('mode') or default_mode), 8)
    except ValueError:
        raise TransactionError(f'files: {path}: mode must be octal digits in quotes, such as "0644"') from None
    owner = spec.get('owner') if spec.get('owner') is not None else 0
    group = spec.get('group') if spec.get('group') is not None else 0
    wanted = {'kind': kind, 'mode': mode, 'uid': identity(owner, pwd.getpwnam, 'pw_uid', 'owner'),
              'gid': identity(group, grp.getgrnam, 'gr_gid', 'group')}
    if kind == 'directory':
        return path, wanted, None
    if spec.get('content') is None:
        if not spec.get('generate'):
            raise TransactionError(f'files: {path} has neither content nor generate')
        return path, wanted, None
    content = spec['content']
    data = content if isinstance(content, bytes) else content.encode('utf-8', 'surrogateescape')
    return path, dict(wanted, sha256=hashlib.sha256(data).hexdigest()), data


def compare(specs):
    """The entries that differ from the live host: [{path, action, before, after, data, spec}], parents made first."""
    entries, seen = [], {}
    for spec in specs:
        path, wanted, data = to_wish(spec)
        if path in seen:
            raise TransactionError(f'files: {path} is listed twice')
        seen[path] = True
        before = describe(path)
        if spec.get('seen') and before['kind'] != 'absent' and stamp(os.lstat(path)) != spec['seen']:
            raise TransactionError(f'{path} was edited since this run looked at it; run again')
        if before['kind'] == 'other' or (before['kind'] == 'directory' and wanted['kind'] in ('file', 'link')):
            raise TransactionError('{} is a {} on this host; refusing to replace it'.format(path, before['kind']))
        if wanted['kind'] == 'absent' and before['kind'] == 'directory' and os.listdir(path):
            raise TransactionError(f'{path} is a directory and not empty; refusing to remove it')
        if wanted['kind'] == 'directory' and before['kind'] in ('file', 'link'):
            raise TransactionError('{} is a {} on this host, not a directory'.format(path, before['kind']))
        if wanted['kind'] == 'file' and 'sha256' not in wanted and before['kind'] == 'file':
            wanted['sha256'] = before['sha256']  # generated once; from then on only owner and mode are ours
        if spec.get('ignore') and data is not None and before['kind'] == 'file' \
                and essence(read_file(path), spec['ignore']) == essence(data, spec['ignore']):
            wanted['sha256'], data = before['sha256'], None  # a program keeps its notes there
        if same(before, wanted):
            continue
        if wanted['kind'] != 'absent':
            missing, parent = [], os.path.dirname(path)
            while not os.path.isdir(parent) and parent not in seen and parent != ROOT:  # which comes with the journal
                if os.path.lexists(parent):
                    raise TransactionError(f'{parent} is not a directory on this host, so {path} cannot be in it')
                missing.append(parent)
                seen[parent] = True
                parent = os.path.dirname(parent)
            for parent in reversed(missing):
                entries.append(dict(path=parent, action='create', before={'kind': 'absent'}, data=None, spec={},
                                    after={'kind': 'directory', 'mode': 0o755, 'uid': 0, 'gid': 0}))
        only_mode = wanted['kind'] == before['kind'] != 'link' and wanted.get('sha256') == before.get('sha256')
        action = ('remove' if wanted['kind'] == 'absent' else 'create' if before['kind'] == 'absent'
                  else 'mode' if only_mode else 'change')
        entries.append(dict(path=path, action=action, before=before, after=wanted, data=data, spec=spec))
    return entries


def show(entries):
    """The entries as Ansible's diff: contents of text files, or only that a sensitive or binary one differs."""
    shown = []
    for entry in entries:
        before, after, spec = entry['before'], entry['after'], entry['spec']
        texts = []
        for side, data in ((before, None), (after, entry['data'])):
            if side['kind'] == 'file':
                head = '# mode {:04o}, owner {}, group {}\n'.format(side['mode'], side['uid'], side['gid'])
                if spec.get('sensitive'):
                    texts.append(head + f'(sensitive, not shown: {"old" if side is before else "new"} content)\n')
                    continue
                if data is None and before['kind'] == 'file':
                    data = read_file(entry['path'])[:1 << 20]
                data = b'(generated on the host)\n' if data is None else data
                texts.append(head + data.decode('utf-8', 'replace'))
            elif side['kind'] == 'rights':
                what = 'directory' if stat.S_ISDIR(side['type']) else 'file'
                texts.append(f'# {what}, mode {side["mode"]:04o}, owner {side["uid"]}, group {side["gid"]}\n')
            elif side['kind'] == 'directory':
                texts.append(f'# directory, mode {side["mode"]:04o}, owner {side["uid"]}, group {side["gid"]}\n')
            elif side['kind'] == 'link':
                texts.append('# link to {}\n'.format(side['target']))
            else:
                texts.append('')
        shown.append(dict(before=texts[0], after=texts[1], before_header=readable(entry['path']),
                          after_header=readable(entry['path'])))
    return shown


# --- the change itself --------------------------------------------------------------------------------------

@contextlib.contextmanager
def settled(patience, who, mend=True):
    """Hold the lock once no change is pending; TransactionError after `patience` seconds, naming the change.

    A change that another run has applied and not confirmed may still vanish: nothing can be compared with it.
    One that is long past its time is taken back here, where `mend` allows it.
    """
    until = time.monotonic() + patience
    while True:
        with locked(until - time.monotonic(), who):
            for change in changes(PENDING) if mend else []:
                left = change.remaining()
                if left is None or left < -15 or change.state == 'reverting':
                    revert(change, 'left behind; taken back by the next run')
            pending = changes(PENDING)
            if not pending:
                if mend:
                    sweep()
                    clear_boot_unit()
                yield
                return
        change = pending[0]
        name = f'change {change.id} of role {change.meta["role"]} by {change.meta["who"]}'
        if mend and change.state == 'reverting':
            raise TransactionError(f'{name} cannot be taken back: {"; ".join(change.meta["reverted"]["troubles"])}; '
                                   'the host goes on trying, and nothing else was done')
        if time.monotonic() >= until:
            raise TransactionError(f'{name} is still waiting for its confirmation '
                                   f'({max(0, change.remaining() or 0):.0f} s left); '
                                   'nothing was done, try again after that')
        time.sleep(0.5)


def noted(entry):
    """What the journal has to know of an entry whose file others may write to without editing it."""
    ignore = entry['spec'].get('ignore')
    return dict(ignore=ignore, essence=essence(entry['data'], ignore)) if ignore and entry['data'] is not None else {}


def stage(change, entries):
    """Write originals and new contents into the journal; nothing else on the host changes."""
    for name in ('before', 'after', 'stage'):
        os.makedirs(os.path.join(change.dir, name), mode=0o700)
    for index, entry in enumerate(entries):
        if entry['before']['kind'] == 'file':
            data = read_file(entry['path'])
            if hashlib.sha256(data).hexdigest() != entry['before']['sha256']:
                raise TransactionError(f'{entry["path"]} was edited while this run read it; run again')
            write_file(os.path.join(change.dir, 'before', str(index)), data)
        if entry['after']['kind'] != 'file':
            continue
        staged = os.path.join(change.dir, 'stage', f'{index}-{os.path.basename(entry["path"])}')
        if entry['data'] is None and entry['before']['kind'] == 'file':
            entry['data'] = read_file(entry['path'])  # only owner or mode differ
        if entry['data'] is None:
            must([part.replace('%s', staged) for part in entry['spec']['generate']], 'making ' + entry['path'])
            entry['data'] = read_file(staged)
            entry['after']['sha256'] = hashlib.sha256(entry['data']).hexdigest()
        else:
            write_file(staged, entry['data'])
        if entry['path'] in ACCOUNT_FILES:  # packages and people go on writing to it: see merge_accounts
            write_file(os.path.join(change.dir, 'after', str(index)), entry['data'])
        checks = entry['spec'].get('validate') or []
        for argv in [checks] if checks and isinstance(checks[0], str) else checks:
            validate_one([part.replace('%s', staged) for part in argv], entry)
    shutil.rmtree(os.path.join(change.dir, 'stage'))


def validate_one(argv, entry):
    """Run `argv` on a staged file; what it says of a sensitive one may quote it and is not repeated."""
    try:
        must(argv, f'validating {entry["path"]}')
    except TransactionError:
        if not entry['spec'].get('sensitive'):
            raise
        raise TransactionError(f'validating {entry["path"]} failed: `{" ".join(argv)}` (what it said is not shown, '
                               'the file is sensitive)') from None


def apply(change, entries):
    """Bring every entry to its place: first all contents beside their targets, so that a full disk is met early.

    Marks what it `touched`: a path that it did not get to may have been edited by others and is not ours to restore.
    """
    for entry in entries:
        after = entry['after']
        if after['kind'] == 'absent':
            continue
        if after['kind'] == 'rights':
            apply_rights(entry)
            continue
        with anchored(entry['path']) as path:
            if after['kind'] == 'directory':
                if entry['before']['kind'] == 'absent':
                    os.mkdir(path, 0o700)
                entry['touched'] = True
                dress_directory(path, after)
                continue
            wanted = dict(after)
            if after['kind'] == 'file' and entry['before']['kind'] == 'file':
                wanted.setdefault('xattrs', entry['before'].get('xattrs', {}))
            place(beside(path, change.id), wanted, entry['data'])
    for entry in entries:
        if entry['after']['kind'] in ('directory', 'rights'):
            continue
        with anchored(entry['path']) as path:
            if not same(describe(path), entry['before']):
                raise TransactionError(
                    f'{entry["path"]} was edited while this run was about to replace it, and was left so')
            entry['touched'] = True
            if entry['after']['kind'] == 'absent':
                remove(path, kept(change, entry['path']))
            else:
                os.rename(beside(path, change.id), path)
    placed = [entry['path'] for entry in entries if entry['after']['kind'] != 'rights']
    for directory in sorted({os.path.dirname(path) for path in placed}):
        if os.path.isdir(directory):
            fsync_dir(directory)
    systems = {}  # one flush of each file system's journal does for all owners and modes on it
    for directory in {os.path.dirname(entry['path']) for entry in entries if entry['after']['kind'] == 'rights'}:
        with contextlib.suppress(OSError):
            systems.setdefault(os.stat(directory).st_dev, directory)
    for directory in systems.values():
        with contextlib.suppress(OSError):
            fsync_dir(directory)
    created = [entry['path'] for entry in entries if entry['action'] == 'create']
    if created and os.path.isdir('/sys/fs/selinux/booleans'):
        run(['restorecon', '-F'] + created)


def apply_rights(entry):
    """Change owner and mode of one file or directory. One that others may take away meanwhile is left alone then."""
    optional = entry['spec'].get('optional')
    try:
        with anchored(entry['path']) as path:
            entry['touched'] = True  # half of it may be done when it fails
            entry['touched'] = give_rights(path, entry['before'], entry['after'])
        if not entry['touched'] and not optional:
            raise TransactionError(f'{readable(entry["path"])} was changed while this run was about to change it')
    except OSError as exc:
        if not optional or exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE):
            raise
        entry['touched'] = False
    entry['left'] = not entry['touched']


def execute(entries, plan, about):
    """Stage, validate, arm, apply, activate `entries` (the lock is held). Returns (change, state word)."""
    change = Change(about['id'])
    if os.path.exists(change.dir):  # Ansible repeats a module whose connection was lost
        raise TransactionError(f'the connection was lost after this change had begun; it is now {change.state}')
    sequence = max([other.meta.get('sequence', 0) for other in changes()], default=0) + 1
    os.makedirs(change.dir, mode=0o700)
    image = offline()
    confirm = about['confirm'] if not image else 'none'
    change.meta = dict(
        id=change.id, kind=about.get('kind', 'change'), role=about['role'], run=about['run'], who=about['who'],
        controls=about['controls'], when=now(), sequence=sequence, undoes=about.get('undoes', []), confirm=confirm,
        notes=about.get('notes', []), keep=about['keep'], keep_days=about['keep_days'],
        confirm_timeout=about['confirm_timeout'], boot_id=boot_id(), pid=os.getpid(), activate=plan['activate'],
        revert=plan['revert'], prove=about['prove'], activated=False)
    try:
        stage(change, entries)
        change.meta['files'] = [dict(path=e['path'], action=e['action'], before=e['before'], after=e['after'],
                                     sensitive=bool(e['spec'].get('sensitive')), **noted(e)) for e in entries]
        change.meta['deadline'] = time.monotonic() + about['confirm_timeout']
        change.save()
        if not image:
            arm(change)
        change.set_state('armed')
    except (TransactionError, OSError) as exc:
        disarm(change)
        shutil.rmtree(change.dir, ignore_errors=True)
        raise TransactionError(f'{exc}; nothing on this host was changed') from exc
    try:
        with account_lock([e['path'] for e in entries]):
            apply(change, entries)
        if any(entry.get('left') for entry in entries):
            for record, entry in zip(change.meta['files'], entries):
                record['untouched'] = bool(entry.get('left'))
            change.save()
        if not image:
            for argv in plan['validate']:
                must(argv, 'validating the whole', change.remaining())
            change.meta['activated'] = True
            change.save()
            for argv in plan['activate']:
                if change.remaining() <= 0:
                    raise TransactionError('activating took longer than confirm_timeout')
                must(argv, 'activating', change.remaining())
            for argv in plan['active']:
                must(argv, 'looking whether it is live', change.remaining())
        change.set_state('applied')
        if confirm == 'none':
            settle(change)
    except (TransactionError, OSError) as exc:
        for record, entry in zip(change.meta['files'], entries):
            record['untouched'] = not entry.get('touched')
        with contextlib.suppress(OSError):
            change.save()
        troubles = revert(change, str(exc))
        raise TransactionError(f'{exc}. The change was taken back{outcome(change, troubles)}') from exc
    return change, change.state


def settle(change):
    """Mark `change` confirmed and what it undoes as undone, then prune."""
    change.set_state('confirmed')
    with contextlib.suppress(OSError):  # from here on it counts, whatever fails
        finish(change)
        prune(change.meta['keep'], change.meta['keep_days'])


def finish(change):
    """What follows from a confirmed `change`. Safe to repeat."""
    for undone in change.meta.get('undoes', []):
        with contextlib.suppress(TransactionError):
            Change.load(undone).set_state('undone')
    disarm(change)  # last: until then the timer sees to it that all this happens


def outcome(change, troubles):
    """The end of a sentence that says how the host was left."""
    if not troubles:
        return '; the host is as before'
    more = '; the host goes on trying' if change.state == 'reverting' else ''
    return ', but not all of it could be: ' + '; '.join(troubles) + more


def prune(keep, days):
    """Forget entries beyond the newest `keep` and those older than `days` days; never one that is pending."""
    entries = changes()
    limit = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() - days * 86400))
    for position, change in enumerate(entries):
        if change.state not in PENDING and (position < len(entries) - keep or change.meta.get('when', '') < limit):
            shutil.rmtree(change.dir, ignore_errors=True)


def confirm_change(change_id):
    """Prove and confirm an applied change (called over the new connection). Returns the Change; its state tells."""
    with locked(15, f'the confirmation of change {change_id}'):
        change = Change.load(change_id)
        if change.state != 'applied':
            return change
        try:
            for argv in change.meta['prove']:
                must(argv, 'the proof', change.remaining() or 1)
            settle(change)
        except (TransactionError, OSError) as exc:
            revert(change, str(exc))
        return change


def abandon(change_id):
    """Take back a change whose run was lost, or see to it that it never begins. Returns the Change; its state tells.

    The run may be alive still, cut off from its controller: it holds the lock until it is done, or finds our mark.
    """
    change = Change(change_id)
    if not os.path.isdir(JOURNAL):  # it never got as far as to the lock
        return change
    with locked(15, f'the revert of change {change_id}'):
        with contextlib.suppress(TransactionError):
            change = Change.load(change_id)
        if change.state in PENDING:
            revert(change, 'the controller lost the connection during the change')
        elif change.state == 'staged':
            change.meta = dict(dict(role='', when=now(), files=[]), **change.meta, id=change_id)
            os.makedirs(change.dir, mode=0o700, exist_ok=True)
            change.save()
            change.set_state('abandoned')
            disarm(change)
        return change


def rows(data):
    """The lines of a file of accounts as {(name, how many of that name came before): [field]}."""
    found = {}
    for line in data.decode('utf-8', 'surrogateescape').split('\n')[:-1]:
        fields, number = line.split(':'), 0
        while (fields[0], number) in found:
            number += 1
        found[fields[0], number] = fields
    return found


def merge_accounts(path, before, after, now, over, force=False):
    """A file of accounts without what one change did to it: (content, names of which the same was edited since).

    `before` and `after` are its contents around that change, `now` is the present one, all bytes. Accounts that
    packages made since stay, and fields that the change left alone are as they are now. `over` is a set of the fields
    that later changes have given back already: what was edited before these, they took over.
    """
    old, new, current, edited = rows(before), rows(after), rows(now), []
    for key in dict.fromkeys([*old, *new]):
        was, became, found = old.get(key), new.get(key), current.get(key)
        if was == became:
            if force and found is None:  # a tool of the system's may have taken away a line that it does not know
                current[key] = was
            continue
        if was is None:
            if found and path == '/etc/shadow' and found[1] != became[1] and not force:
                edited.append(key[0])  # a password, which would be lost
            current.pop(key, None)
        elif found is None:
            if became is None:
                current[key] = was
        elif force and not path.endswith(('group', 'gshadow')):
            current[key] = was
        elif became is None or not len(was) == len(became) == len(found):
            edited += [key[0]] if found != was else []
        else:
            for place, (one, other) in enumerate(zip(was, became)):
                if one == other:
                    continue
                mine = found[place] == other or (key, place) in over
                over.add((key, place))
                members = path.endswith(('group', 'gshadow')) and place == len(was) - 1
                if mine or found[place] == one:
                    found[place] = one
                elif members:
                    one, other, there = (set(filter(None, text.split(','))) for text in (one, other, found[place]))
                    kept = [name for name in found[place].split(',') if name and name not in other - one]
                    found[place] = ','.join(kept + sorted(one - other - there))
                else:
                    edited.append(key[0])
    if now == after:
        return before, []
    order, since = [key for key in old if key in current], [key for key in current if key not in old]
    last = next((number for number, key in enumerate(order) if key[0][:1] in ('+', '-')), len(order))  # NIS
    order[last:last] = since
    merged = ''.join(':'.join(current[key]) + '\n' for key in order)
    return merged.encode('utf-8', 'surrogateescape'), edited


def plan_undo(selector, force=False):
    """What undoing means, as arguments of :func:`transact`. `selector`: all, run:ID, role:NAME or change:ID.

    A path goes back to what it was before the oldest chosen change. TransactionError where a file was edited
    since, or where a later change that is not chosen touched the same file.
    """
    what, dummy, value = selector.partition(':')
    if what not in ('all', 'run', 'role', 'change') or (what != 'all') != bool(value):
        raise TransactionError(f'undo: say all, run:ID, role:NAME or change:ID, not {selector!r}')
    confirmed = changes(('confirmed',))
    gone = {undone for change in confirmed for undone in change.meta.get('undoes', [])}
    standing = [c for c in confirmed if c.meta.get('kind') == 'change' and c.id not in gone]

    def named(change):
        return what == 'all' or value == (change.id if what == 'change' else change.meta.get(what))

    chosen = [change for change in standing if named(change)]
    entries, ours, edited, later, closed, partly = {}, {}, [], {}, set(), set()
    for change in reversed(standing):
        for index, record in enumerate(change.meta['files']):
            path = record['path']
            if change not in chosen:
                later.setdefault(path, change)
                if path in entries:
                    closed.add(path)
                continue
            if record.get('untouched'):
                continue
            if path in ACCOUNT_FILES and record['before']['kind'] == 'file' and os.path.isfile(path) \
                    and os.path.exists(os.path.join(change.dir, 'after', str(index))):
                entry = entries.setdefault(path, dict(path=path, action='', before=describe(path), data=read_file(path),
                                                      spec={'sensitive': record.get('sensitive')}, over=set()))
                entry['data'], names = merge_accounts(path, change.blob(index), change.blob(index, 'after'),
                                                      entry['data'], entry['over'], force)
                entry['after'] = dict(record['before'], sha256=hashlib.sha256(entry['data']).hexdigest())
                edited += [f'{path} ({", ".join(names)})'] if names else []
                continue
            if path in closed:  # goes back only as far as the change in between: that stays, and so does this one
                partly.add(change.id)
                continue
            after, later_after = record['before'], entries.get(path, {}).get('after')
            data = change.blob(index) if after['kind'] == 'file' else None
            if after['kind'] == 'rights' and later_after and later_after['kind'] in ('file', 'directory'):
                after = dict(later_after, mode=after['mode'], uid=after['uid'], gid=after['gid'])
                data = entries[path]['data']
            current = describe_as(path, after)
            if after['kind'] == 'rights' and (current['kind'] != 'rights' or current['type'] != after['type'] or (
                    force and current.get('sha256') != after.get('sha256'))):
                continue  # it is gone, or another file has taken its place
            if path in entries:
                pass
            elif path not in later:
                ours[path] = record
            elif not same(current, record['before']):
                edited.append(f'{path} (by the later change {later[path].id} of role {later[path].meta["role"]})')
            sensitive = record.get('sensitive') or entries.get(path, {}).get('spec', {}).get('sensitive')
            entries[path] = dict(path=path, action='', before=current, after=after, data=data,
                                 spec={'sensitive': sensitive})
    edited += [path for path, record in ours.items() if not as_left(path, describe_as(path, record['after']), record)
               and not same(entries[path]['before'], entries[path]['after'])]
    if edited and not force:
        raise TransactionError(f'edited since, so that undoing would lose it: {", ".join(sorted(set(edited)))}. '
                               'Nothing was changed; say undo_force=true to put the old content back all the same')
    made = {path for path, entry in entries.items() if entry['after']['kind'] == 'directory'}
    homeless = {path for path, entry in entries.items() if entry['after']['kind'] not in ('absent', 'rights')
                and os.path.dirname(path) not in made and not os.path.isdir(os.path.dirname(path))}
    if homeless and not force:
        raise TransactionError(f'the directory is gone: {", ".join(sorted(homeless))}. Nothing was changed; make it '
                               'again, or say undo_force=true to leave out what has no place any more')
    for path in homeless:
        del entries[path]
    back, forth = [], []
    for change in reversed(chosen):
        back += [argv for argv in way_back(change.meta) if argv not in back]
    for change in chosen:
        forth += [argv for argv in change.meta['activate'] if argv not in forth]
    differing = []
    for entry in entries.values():
        if same(entry['before'], entry['after']):
            continue
        entry['action'] = ('mode' if entry['after']['kind'] == 'rights' else
                           'remove' if entry['after']['kind'] == 'absent' else
                           'create' if entry['before']['kind'] == 'absent' else 'change')
        differing.append(entry)
    # directories come first and go last, so that they are there for their files and empty when they go
    differing.sort(key=lambda e: {'directory': (0, e['path'].count('/')), 'absent': (2, -e['path'].count('/'))}.get(
        e['after']['kind'], (1, 0)))
    ids = [change.id for change in chosen if change.id not in partly]
    known = what == 'all' or any(named(change) for change in changes())
    return dict(entries=differing, activate=back, revert=forth, kind='undo', undoes=ids,
                extra_result=dict(undone=ids, known=known),
                warnings=[f'{path} is left out: its directory is gone' for path in sorted(homeless)])


def transact(module, wishes):
    """Run a module's whole change and exit it.

    `wishes` reads the host under the lock and returns the arguments as confirmed_change documents them: `files` (or
    `entries`, for an undo), validate, active, activate, revert, refuse, `warnings`, and `extra_result` to return beside
    the rest.
    """
    params = module.params
    result = dict(changed=False, state='unchanged', files=[])
    about = dict(id=params['_change'] or make_id(), run=params['_run'], who=params['_who'], role=params['role'],
                 controls=params['controls'], confirm=params['confirm'], confirm_timeout=params['confirm_timeout'],
                 prove=params['prove'], keep=params['keep'], keep_days=params['keep_days'])
    try:
        patience = about['confirm_timeout'] + 30
        name = f'change {about["id"]} of role {about["role"]} by {about["who"]}'
        if module.check_mode and os.path.isdir(JOURNAL):
            with settled(patience, name, mend=False):
                pass
        with settled(patience, name) if not module.check_mode else contextlib.nullcontext():
            plan = wishes()
            for key, default in (('validate', []), ('active', []), ('activate', []), ('revert', None)):
                value = plan.get(key, default)
                plan[key] = value if value is None else [[str(part) for part in argv] for argv in value]
            result.update(plan.get('extra_result') or {})
            for warning in plan.get('warnings', []):
                module.warn(warning)
            if plan.get('refuse'):
                raise TransactionError('refused, nothing was changed: ' + '; '.join(plan['refuse']))
            entries = plan['entries'] if 'entries' in plan else compare(plan['files'])
            shown = entries[:SHOWN]
            stale = [argv for argv in plan['active'] if run(argv)[0] != 0] if not offline() else []
            if entries or stale:
                result.update(changed=True, files=[dict(path=readable(e['path']), action=e['action']) for e in shown],
                              state='checked', inactive=[' '.join(argv) for argv in stale])
                if module._diff:
                    result['diff'] = show(shown)
                    if len(entries) > SHOWN:
                        result['diff'].append(dict(prepared=f'and {len(entries) - SHOWN} more\n'))
                    if stale:
                        result['diff'].append(dict(prepared='not active: {}\n'.format('; '.join(result['inactive']))))
                if not module.check_mode:
                    about.update(kind=plan.get('kind', 'change'), undoes=plan.get('undoes', []),
                                 notes=result.get('notes', []))
                    change, result['state'] = execute(entries, plan, about)
                    if any(entry.get('left') for entry in entries):
                        result['vanished'] = sum(1 for entry in entries if entry.get('left'))
                    result.update(change=change.id, left=change.remaining())
    except TransactionError as exc:
        module.fail_json(msg=str(exc), **dict(result, changed=False, state='failed'))
    except OSError as exc:
        module.fail_json(msg=f'{exc}; nothing on this host was changed', **dict(result, changed=False, state='failed'))
    module.exit_json(**result)


def make_id():
    """A change id: sorts by time, unique on the host."""
    return time.strftime('%Y%m%dT%H%M%S', time.gmtime()) + '-' + os.urandom(3).hex()


def main(argv):
    """What the timer (`revert ID`) and the boot unit (`boot`) run."""
    if argv[:1] == ['boot']:
        with locked(30, 'the revert after a restart'):
            sweep()
            for change in reversed(changes(PENDING)):
                revert(change, 'the host restarted before the change was confirmed', booting=True)
            clear_boot_unit()
            return 1 if changes(PENDING) else 0
    pause = 2
    while not timed_revert(argv[1]):
        time.sleep(pause)
        pause = min(60, 2 * pause)
    return 0


def timed_revert(change_id):
    """Take the change back unless it is settled; false where that must be tried again."""
    change = Change(change_id)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(30, f'the revert of change {change_id}'))
        except TransactionError:  # the run that holds the lock hangs: its time is up
            if change.state not in PENDING:
                return False
            for pid in lock_holders():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            stack.enter_context(locked(30, f'the revert of change {change_id}'))
        if change.state in PENDING:
            change = Change.load(change_id)  # not before: until the lock is ours, the run may still write to it
            revert(change, f'not confirmed within {change.meta["confirm_timeout"]} seconds')
        if change.state in PENDING:
            return False
        if change.state == 'confirmed':  # whoever confirmed it may have died over the rest
            finish(Change.load(change_id))
        disarm(change)
    return True


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
