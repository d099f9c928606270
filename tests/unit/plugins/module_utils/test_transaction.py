# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host half of a confirmed change on a small tree: every step of it killed, and what must never be lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import transaction
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import TransactionError
from ansible_collections.rampart.hardening.plugins.modules import confirmed_change

KILLED = 9


class Ended(Exception):
    """The module has exited; `result` is what it printed."""

    def __init__(self, result):
        super().__init__(result.get("msg"))
        self.result = result


class Module:
    """As much of an AnsibleModule as a transaction needs."""

    def __init__(self, check_mode=False, **params):
        defaults = {
            "role": "test", "controls": [], "confirm": "connection", "confirm_timeout": 5, "prove": [], "keep": 200,
            "keep_days": 365, "_change": None, "_run": "run-1", "_who": "me@here",
        }  # fmt: skip
        self.params = {**defaults, **params}
        self.check_mode, self._diff = check_mode, True
        self.warnings = []

    def warn(self, warning):
        self.warnings.append(warning)

    @staticmethod
    def exit_json(**result):
        raise Ended(result)

    @staticmethod
    def fail_json(**result):
        raise Ended({"failed": True, **result})


class Host:
    """A tree with files, a daemon that reads etc/main.conf when it is told to, and a systemd that knows timers."""

    def __init__(self, top):
        self.top, self.etc = top, top / "etc"
        for folder in ("etc/conf.d", "etc/leaving", "systemd/sysinit.target.wants", "timers"):
            (top / folder).mkdir(parents=True)
        files = {"main.conf": ("old\n", 0o640), "other.conf": ("same\n", 0o666), "gone.conf": ("x\n", 0o600),
                 "conf.d/site.conf": ("theirs\n", 0o644)}  # fmt: skip
        for name, (text, mode) in files.items():
            (self.etc / name).write_text(text)
            (self.etc / name).chmod(mode)
            os.utime(self.etc / name, ns=(10**18, 10**18))
        (self.etc / "link").symlink_to("main.conf")
        self.fail = set()  # commands that fail
        self.calls = []
        self.activate()

    def activate(self):
        shutil.copyfile(self.etc / "main.conf", self.top / "live")

    def run(self, argv, timeout=60):
        """Stands in for commands. What systemd is told is kept in a file, as systemd outlives the run."""
        self.calls.append(argv)
        timers = self.top / "timers"
        if argv[0] == "systemd-run":
            (timers / argv[-1]).touch()
        elif argv[:2] == ["systemctl", "stop"]:
            (timers / argv[2].removeprefix("rampart-revert-").removesuffix(".timer")).unlink(missing_ok=True)
        elif argv[0] in ("activate", "restore") and argv[0] not in self.fail:
            self.activate()
        elif argv[0] == "make":
            (self.top / argv[1]).write_text("made\n")
        if argv[0] in self.fail:
            return 1, f"{argv[0]} does not like it"
        return 0, ""

    def wishes(self):
        """One of each: changed, created below new directories, removed, mode only, generated, a link."""
        mine = {"owner": os.getuid(), "group": os.getgid()}
        etc = self.etc
        return [
            {"path": f"{etc}/main.conf", "content": "new\n", "mode": "0640", **mine},
            {"path": f"{etc}/conf.d", "state": "directory", "mode": "0700", **mine},
            {"path": f"{etc}/fresh/deep/a.conf", "content": "a\n", "validate": ["check", "%s"], **mine},
            {"path": f"{etc}/gone.conf", "state": "absent"},
            {"path": f"{etc}/other.conf", "content": "same\n", "mode": "0600", **mine},
            {"path": f"{etc}/key", "generate": ["make", "%s"], "mode": "0600", **mine},
            {"path": f"{etc}/link", "state": "link", "target": "other.conf"},
            {"path": f"{etc}/leaving", "state": "absent"},
        ]

    def transact(self, files=None, activate=(("activate",),), check_mode=False, validate=(), active=(), revert=None,
                 **params):  # fmt: skip
        files = self.wishes() if files is None else files
        plan = {"files": files, "validate": validate, "active": active, "activate": activate, "revert": revert}
        module = Module(check_mode, **params)
        self.warnings = module.warnings
        with pytest.raises(Ended) as ended:
            transaction.transact(module, files if callable(files) else lambda: plan)
        return ended.value.result

    def change(self, *args, **params):
        """A change applied and confirmed."""
        result = self.transact(*args, **params)
        assert result["state"] == "applied", result
        assert transaction.confirm_change(result["change"]).state == "confirmed"
        return result["change"]

    def undo(self, what="all", force=False, check_mode=False, **params):
        return self.transact(lambda: transaction.plan_undo(what, force), check_mode=check_mode, **params)

    def manifest(self):
        """What a reader of the tree sees, our own journal aside."""
        return {
            str(path.relative_to(self.top)): describe(path)
            for folder in ("etc", "systemd", "timers")
            for path in sorted((self.top / folder).rglob("*"))
        } | {"live": (self.top / "live").read_text()}

    def state(self):
        return {change.id: change.state for change in transaction.changes()}


def describe(path):
    info = path.lstat()
    found = [stat.filemode(info.st_mode), info.st_uid, info.st_gid]
    if path.is_symlink():
        found.append(os.readlink(path))
    elif path.is_file():
        found += [hashlib.sha256(path.read_bytes()).hexdigest(), transaction.xattrs(path)]
    return found


@pytest.fixture
def host(monkeypatch):
    memory = Path("/", "dev", "shm")  # there are thousands of small files to be made
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield settle_in(Path(folder) / "host", monkeypatch.setattr)


def settle_in(top, setattr_):
    """A host below `top`, which the module under test takes for the whole machine."""
    host = Host(top)
    root, units = str(top / "rampart"), str(top / "systemd")
    for name, value in {
        "ROOT": root, "JOURNAL": root + "/changes", "PROGRAM": root + "/transaction.py", "LOCK": root + "/lock",
        "UNIT_DIR": units, "BOOT_UNIT": units + "/rampart-revert.service",
        "BOOT_LINK": units + "/sysinit.target.wants/rampart-revert.service",
        "run": host.run, "fsync_dir": lambda path: None, "has_systemd": lambda: True, "offline": lambda: False,
    }.items():  # fmt: skip
        setattr_(transaction, name, value)
    setattr_(os, "fsync", lambda fd: None)  # a killed process does not take the kernel's memory along
    return host


# --- killed at every step -------------------------------------------------------------------------------------------

# Python announces these before it does them, so a run that ends there has done all that comes before and no more
STEPS = ("open", "os.", "shutil.", "fcntl.")


def killed_at(step, function):
    """Run `function` in a process that is killed right before its step number `step`; whether that came."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def hook(event, args):
            nonlocal count
            if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
            if event.startswith(STEPS) and event not in ("os.listdir", "os.scandir", "os.listxattr", "os.getxattr"):
                if count == step:
                    os._exit(KILLED)
                count += 1

        code = 1
        try:
            sys.addaudithook(hook)
            with contextlib.suppress(Ended):
                function()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, KILLED), f"step {step}: exit status {status}"
    return status == KILLED


class Tree:
    """Copies of a prepared tree, each used for one kill, at the same place so that paths in the journal hold."""

    def __init__(self, host):
        self.host, self.saved = host, host.top.with_name(host.top.name + "-saved")
        shutil.copytree(host.top, self.saved, symlinks=True)

    def reset(self):
        shutil.rmtree(self.host.top)
        shutil.copytree(self.saved, self.host.top, symlinks=True)


def every_kill(host, function, prepare=lambda: None):
    """Yield after each possible kill of `function`, on a tree as it was before."""
    tree = Tree(host)
    for step in range(5000):
        tree.reset()
        prepare()
        if not killed_at(step, function):
            assert step > 10, "the hook sees next to nothing"
            return
        yield step
    pytest.fail("it never comes to an end")


def assert_armed_or_untouched(host, before, step):
    """What a kill leaves: either nothing has changed, or the timer runs and, if armed, the boot unit stands."""
    change = next(iter(transaction.changes()), None)
    timer = any((host.top / "timers").iterdir())
    if change is not None and change.state in transaction.PENDING:
        assert timer, f"step {step}: {change.state}, and no timer would take it back"
        assert os.path.islink(transaction.BOOT_LINK), f"step {step}: {change.state}, and nothing for a power cut"
        assert os.path.exists(transaction.BOOT_UNIT)
    elif not timer:
        assert host.manifest() == before, f"step {step}: changed, and nothing will take it back"
    return change


def timer_fires(host):
    for timer in (host.top / "timers").iterdir():
        assert transaction.main(["revert", timer.name]) == 0


def reboot(host):
    """Timers are gone, the daemon starts with what stands in etc once the boot unit has run.

    A unit that was about to be linked when the power went does nothing and is cleared away by the next run.
    """
    for timer in (host.top / "timers").iterdir():
        timer.unlink()
    if os.path.islink(transaction.BOOT_LINK):
        assert transaction.main(["boot"]) == 0
        assert not os.path.lexists(transaction.BOOT_LINK)
        assert not os.path.lexists(transaction.BOOT_UNIT)
    host.activate()
    host.transact(files=[])


@pytest.mark.parametrize("rescue", [timer_fires, reboot])
def test_a_run_killed_anywhere_leaves_the_host_as_before(host, rescue):
    before = host.manifest()
    for step in every_kill(host, host.transact):
        assert_armed_or_untouched(host, before, step)
        rescue(host)
        assert host.manifest() == before, f"step {step}"
        assert set(host.state().values()) <= {"staged", "reverted"}, f"step {step}"


@pytest.mark.parametrize("rescue", [timer_fires, reboot])
def test_a_confirmation_killed_anywhere_leaves_old_or_new(host, rescue):
    before = host.manifest()
    change = host.transact()["change"]
    applied = {key: value for key, value in host.manifest().items() if key.startswith(("etc", "live"))}
    seen = set()
    for step in every_kill(host, lambda: transaction.confirm_change(change)):
        rescue(host)
        state = host.state()[change]
        seen.add(state)
        if state == "confirmed":
            assert {k: v for k, v in host.manifest().items() if not k.startswith(("systemd", "timers"))} == applied
            assert not any((host.top / "timers").iterdir())
            assert not os.path.lexists(transaction.BOOT_LINK)
            assert not os.path.lexists(transaction.BOOT_UNIT)
        else:
            assert state == "reverted", f"step {step}"
            assert host.manifest() == before, f"step {step}"
    assert seen == {"confirmed", "reverted"}


@pytest.mark.parametrize("rescue", [timer_fires, reboot])
def test_a_revert_killed_anywhere_is_finished_later(host, rescue):
    before = host.manifest()
    change = host.transact()["change"]
    for step in every_kill(host, lambda: transaction.main(["revert", change])):
        rescue(host)
        assert host.manifest() == before, f"step {step}"
        assert host.state()[change] == "reverted"


def test_a_failing_run_killed_anywhere_leaves_the_host_as_before(host):
    before = host.manifest()
    host.fail = {"check-all"}
    for step in every_kill(host, lambda: host.transact(validate=[["check-all"]])):
        assert_armed_or_untouched(host, before, step)
        timer_fires(host)
        assert host.manifest() == before, f"step {step}"


@pytest.mark.parametrize("rescue", [timer_fires, reboot])
def test_an_undoing_killed_anywhere_leaves_new(host, rescue):
    change = host.change()
    (host.etc / "fresh/deep/people.conf").write_text("put there since\n")  # so the directory is kept, not deleted
    hardened = host.manifest()
    for step in every_kill(host, host.undo):
        rescue(host)
        assert host.manifest() == hardened, f"step {step}"
        assert host.state()[change] == "confirmed", f"step {step}"


def test_a_confirmation_of_an_undoing_killed_anywhere_is_finished_by_the_timer(host):
    change = host.change()
    undoing = host.undo()["change"]
    seen = set()
    for _step in every_kill(host, lambda: transaction.confirm_change(undoing)):
        timer_fires(host)
        states = host.state()
        seen.add((states[undoing], states[change]))
    assert seen == {("reverted", "confirmed"), ("confirmed", "undone")}


def revert_all(ids):
    for change in ids:
        transaction.main(["revert", change])


def test_two_kills_in_a_row(host):
    """The run is killed, and then whoever takes it back, at all kinds of places."""
    before = host.manifest()
    tree = Tree(host)
    for attempt in range(150):
        tree.reset()
        first, second = 20 + attempt * 37 % 180, attempt * 53 % 80
        killed_at(first, host.transact)
        pending = [timer.name for timer in (host.top / "timers").iterdir()]
        killed_at(second, functools.partial(revert_all, pending))
        timer_fires(host)
        assert host.manifest() == before, (first, second)


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing_and_writes_nothing(host):
    host.change()
    before = host.manifest()
    result = host.transact()
    assert (result["changed"], result["state"], result["files"]) == (False, "unchanged", [])
    assert host.manifest() == before
    assert len(host.state()) == 1


def test_check_mode_predicts_what_a_run_does_and_leaves_no_trace(host):
    before = host.manifest()
    predicted = host.transact(check_mode=True)
    assert host.manifest() == before
    assert not (host.top / "rampart").exists()
    done = host.transact()
    assert predicted["files"] == done["files"]
    assert predicted["diff"] == done["diff"]
    actions = {os.path.relpath(entry["path"], host.etc): entry["action"] for entry in done["files"]}
    assert actions == {
        "main.conf": "change", "conf.d": "mode",
        "fresh": "create", "fresh/deep": "create", "fresh/deep/a.conf": "create",
        "gone.conf": "remove", "other.conf": "mode", "key": "create", "link": "change", "leaving": "remove",
    }  # fmt: skip


def test_an_applied_change_that_is_not_confirmed_goes_back_byte_for_byte(host):
    (host.etc / "main.conf").chmod(0o4750)
    with contextlib.suppress(OSError):
        os.setxattr(host.etc / "main.conf", "user.note", b"kept")
    before, times = host.manifest(), (host.etc / "main.conf").stat().st_mtime_ns
    host.transact()
    assert host.manifest() != before
    timer_fires(host)
    assert host.manifest() == before
    assert (host.etc / "main.conf").stat().st_mtime_ns == times


def test_attributes_survive_a_change_of_content(host, tmp_path):
    file = tmp_path / "file"  # on a disk: file systems in memory may have none
    file.write_text("old")
    try:
        os.setxattr(file, "user.note", b"kept")
    except OSError:
        pytest.skip("no extended attributes here")
    wish = {"path": str(file), "content": "new", "owner": os.getuid(), "group": os.getgid()}
    host.change([wish])
    assert (file.read_text(), os.getxattr(file, "user.note")) == ("new", b"kept")
    os.setxattr(file, "user.note", b"edited")
    host.transact(lambda: transaction.plan_undo("all"))
    assert (file.read_text(), os.getxattr(file, "user.note")) == ("old", b"kept")


@pytest.mark.parametrize(("command", "words"), [
    ("check", "nothing on this host was changed"), ("make", "nothing on this host was changed"),
    ("systemd-run", "nothing on this host was changed"), ("check-all", "the host is as before"),
    ("activate", "the host is as before"), ("is-active", "the host is as before"),
])  # fmt: skip
def test_a_step_that_fails_leaves_the_host_as_before_and_says_why(host, command, words):
    host.fail = {command}
    before = host.manifest()
    result = host.transact(validate=[["check-all"]], active=[["is-active"]], revert=[["restore"]])
    assert result["failed"]
    assert result["changed"] is False
    assert f"{command} does not like it" in result["msg"]
    assert words in result["msg"]
    assert host.manifest() == before


def test_the_way_back_that_fails_is_told(host):
    host.fail = {"activate", "reload-old"}
    result = host.transact(revert=[["reload-old"]])
    assert "not all of it could be: `reload-old` returned 1: reload-old does not like it" in result["msg"]
    assert "host is as before" not in result["msg"]


def test_a_proof_that_fails_takes_the_change_back(host):
    before = host.manifest()
    change = host.transact(prove=[["prove"]])["change"]
    host.fail = {"prove"}
    assert transaction.confirm_change(change).state == "reverted"
    assert host.manifest() == before
    assert "prove does not like it" in transaction.Change.load(change).meta["reverted"]["reason"]


def test_without_confirmation_it_counts_at_once(host):
    result = host.transact(confirm="none")
    assert result["state"] == "confirmed"
    assert not any((host.top / "timers").iterdir())


def test_an_image_is_written_and_validated_and_nothing_activated(host, monkeypatch):
    monkeypatch.setattr(transaction, "offline", lambda: True)
    host.fail = {"check"}
    assert "check does not like it" in host.transact()["msg"]
    host.fail = set()
    assert host.transact(active=[["is-active"]])["state"] == "confirmed"
    assert (host.etc / "main.conf").read_text() == "new\n"
    assert (host.top / "live").read_text() == "old\n"
    assert {call[0] for call in host.calls} <= {"check", "make", "systemctl"}
    assert not any((host.top / "timers").iterdir())


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wish", "words"), [
    ({"path": "conf.d", "content": "x"}, "is a directory on this host"),
    ({"path": "fifo", "content": "x"}, "is a other on this host"),
    ({"path": "fifo", "state": "absent"}, "is a other on this host"),
    ({"path": "main.conf", "state": "directory"}, "not a directory"),
    ({"path": "conf.d", "state": "absent"}, "not empty"),
    ({"path": "main.conf/x", "content": "x"}, "main.conf is not a directory"),
    ({"path": "main.conf/x/y", "state": "link", "target": "z"}, "main.conf is not a directory"),
    ({"path": "a/../b", "content": "x"}, "absolute and plain"),
    ({"path": "new"}, "neither content nor generate"),
    ({"path": "new", "state": "link"}, "has no target"),
    ({"path": "new", "content": "x", "mode": "rw"}, "octal digits"),
    ({"path": "new", "content": "x", "owner": "nobody-of-that-name"}, "does not exist on this host"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_and_nothing_touched(host, wish, words):
    os.mkfifo(host.etc / "fifo")
    before = host.manifest()
    mine = {"owner": os.getuid(), "group": os.getgid()}
    result = host.transact([{**mine, **wish, "path": f"{host.etc}/{wish['path']}"}])
    assert words in result["msg"]
    assert result["failed"]
    assert host.manifest() == before
    assert (host.etc / "main.conf").read_text() == "old\n"


def test_a_path_listed_twice_is_refused(host):
    assert "listed twice" in host.transact(host.wishes() * 2)["msg"]


def test_directories_above_links_and_directories_are_made(host):
    mine = {"owner": os.getuid(), "group": os.getgid()}
    before = host.manifest()
    host.change([{"path": f"{host.etc}/one/two/link", "state": "link", "target": "x"},
                 {"path": f"{host.etc}/three/four", "state": "directory", **mine}])  # fmt: skip
    assert (host.etc / "one/two/link").is_symlink()
    assert (host.etc / "three/four").is_dir()
    host.undo(confirm="none")
    assert host.manifest() == before


# --- other people ---------------------------------------------------------------------------------------------------


def test_a_file_edited_before_it_is_replaced_is_left_as_edited(host, monkeypatch):
    """Somebody saves main.conf while a later file is validated: the run gives up, and the edit stays."""

    def run(argv, timeout=60):
        if argv[0] == "check":
            (host.etc / "main.conf").write_text("edited\n")
        return host.run(argv, timeout)

    before = host.manifest()
    monkeypatch.setattr(transaction, "run", run)
    result = host.transact()
    assert "main.conf was edited while this run was about to replace it, and was left so" in result["msg"]
    assert (host.etc / "main.conf").read_text() == "edited\n"
    (host.etc / "main.conf").write_text("old\n")
    assert host.manifest() == before


def test_a_file_that_came_into_being_meanwhile_is_left(host, monkeypatch):
    def run(argv, timeout=60):
        if argv[0] == "check":
            (host.etc / "fresh").mkdir()
            (host.etc / "fresh/theirs").write_text("x")
        return host.run(argv, timeout)

    monkeypatch.setattr(transaction, "run", run)
    assert "File exists" in host.transact()["msg"]
    assert (host.etc / "fresh/theirs").read_text() == "x"
    assert (host.etc / "main.conf").read_text() == "old\n"


def test_what_somebody_wrote_to_a_new_file_is_kept_in_the_journal(host):
    change = host.transact()["change"]
    (host.etc / "main.conf").write_text("edited\n")
    timer_fires(host)
    assert (host.etc / "main.conf").read_text() == "old\n"
    kept = list((host.top / "rampart/changes" / change / "kept").iterdir())
    assert [file.read_text() for file in kept] == ["edited\n"]


def test_a_second_run_waits_and_then_refuses_naming_the_first(host):
    first = host.transact(role="ssh", _who="alice@desk", confirm_timeout=100)["change"]
    applied = host.manifest()
    started = time.monotonic()
    result = host.transact(confirm_timeout=-29)
    assert time.monotonic() - started >= 1
    assert f"change {first} of role ssh by alice@desk is still waiting for its confirmation" in result["msg"]
    assert "nothing was done" in result["msg"]
    assert host.manifest() == applied
    assert "is still waiting" in host.transact(check_mode=True, confirm_timeout=-29)["msg"]


def test_a_second_run_goes_on_when_the_first_is_confirmed(host):
    first = host.transact()["change"]
    pid = os.fork()
    if pid == 0:
        time.sleep(0.7)
        transaction.confirm_change(first)
        os._exit(0)
    assert host.transact()["state"] == "unchanged"
    os.waitpid(pid, 0)


def test_the_next_run_takes_back_what_was_left_behind(host, monkeypatch):
    before = host.manifest()
    first = host.transact()["change"]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 30)
    (host.top / "timers" / first).unlink()  # lost, however
    assert host.transact(files=[])["state"] == "unchanged"
    assert host.manifest() == before


def test_nobody_begins_between_waiting_and_beginning(host, monkeypatch):
    """The lock in which no pending change was seen is the lock under which the next one is made."""
    taken = []
    locked = transaction.locked

    @contextlib.contextmanager
    def counting(*args):
        with locked(*args):
            taken.append(args)
            yield

    monkeypatch.setattr(transaction, "locked", counting)
    host.transact()
    assert len(taken) == 1


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


def test_the_lock_names_who_holds_it(host):
    with (
        transaction.locked(0, "change 1 of role ssh by alice"),
        pytest.raises(TransactionError, match="change 1 of role ssh by alice is at work"),
        transaction.locked(0),
    ):
        pass


def test_a_run_that_hangs_with_the_lock_is_ended_by_the_timer(host, monkeypatch):
    before = host.manifest()
    host.transact()
    locked = transaction.locked
    monkeypatch.setattr(transaction, "locked", lambda patience, who="": locked(min(patience, 0.3), who))
    hung = subprocess.Popen([sys.executable, "-c", HOLD, transaction.LOCK], stdout=subprocess.PIPE)
    hung.stdout.readline()
    timer_fires(host)
    assert hung.wait(5) == -signal.SIGKILL
    hung.stdout.close()
    assert host.manifest() == before


def test_the_account_files_are_not_replaced_while_useradd_runs(host, monkeypatch):
    lock = host.etc / ".pwd.lock"
    lock.touch()
    monkeypatch.setattr(transaction, "ACCOUNT_FILES", (f"{host.etc}/main.conf",))
    opened = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **more: opened(str(lock) if path == "/etc/.pwd.lock" else path, *rest, **more)
    )
    pid = os.fork()
    if pid == 0:
        with lock.open("r+") as handle:
            fcntl.lockf(handle, fcntl.LOCK_EX)
            time.sleep(1)
            assert (host.etc / "main.conf").read_text() == "old\n"
            os._exit(0)
    time.sleep(0.3)
    host.change()
    assert os.waitpid(pid, 0)[1] == 0, "replaced under the lock"
    assert (host.etc / "main.conf").read_text() == "new\n"


# --- full disks -----------------------------------------------------------------------------------------------------


def test_a_revert_on_a_full_disk_writes_in_place_and_is_retried_for_the_rest(host, monkeypatch):
    before = host.manifest()
    change = host.transact()["change"]
    place, write_file = transaction.place, transaction.write_file

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transaction, "place", full)
    monkeypatch.setattr(transaction, "write_file", full)
    assert not transaction.timed_revert(change)
    assert host.manifest() != before
    assert (host.etc / "main.conf").read_text() == "old\n"  # in the blocks of the new one
    assert not (host.etc / "gone.conf").exists()
    assert host.state()[change] == "reverting"
    assert any((host.top / "timers").iterdir()), "no timer would try again"
    assert os.path.islink(transaction.BOOT_LINK)
    monkeypatch.setattr(transaction, "write_file", write_file)
    stuck = host.transact()["msg"]
    assert "cannot be taken back" in stuck
    assert "No space left on device" in stuck
    monkeypatch.setattr(transaction, "place", place)
    assert transaction.timed_revert(change)
    assert host.manifest() == before
    assert host.state()[change] == "reverted"


def test_what_found_no_room_is_tried_again_once_others_gave_theirs_back(host, monkeypatch):
    before = host.manifest()
    change = host.transact()["change"]
    place, tries = transaction.place, []

    def full_at_first(temp, wanted, data):
        tries.append(temp)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "full")
        place(temp, wanted, data)

    monkeypatch.setattr(transaction, "place", full_at_first)
    assert transaction.timed_revert(change)
    assert host.manifest() == before


def test_a_failing_run_that_cannot_be_taken_back_does_not_say_that_it_was(host, monkeypatch):
    host.fail = {"activate"}
    place = transaction.place

    def bad_disk(temp, wanted, data):
        if data == b"x\n":
            raise OSError(errno.EIO, "bad disk")
        place(temp, wanted, data)

    monkeypatch.setattr(transaction, "place", bad_disk)
    result = host.transact(revert=[["restore"]])
    assert "not all of it could be" in result["msg"]
    assert "bad disk; the host goes on trying" in result["msg"]
    assert "as before" not in result["msg"]


def test_a_confirmation_that_cannot_be_written_takes_the_change_back(host, monkeypatch):
    before = host.manifest()
    change = host.transact()["change"]
    write_file = transaction.write_file

    def full(path, data, mode=0o600):
        if data == b"confirmed":
            raise OSError(errno.ENOSPC, "full")
        write_file(path, data, mode)

    monkeypatch.setattr(transaction, "write_file", full)
    assert transaction.confirm_change(change).state == "reverted"
    assert host.manifest() == before


# --- the controller that lost its connection ------------------------------------------------------------------------


def test_abandoning_before_it_began_keeps_it_from_beginning(host):
    with transaction.locked(0):
        pass
    before = host.manifest()
    assert transaction.abandon("20260101T000000-aaaaaa").state == "abandoned"
    result = host.transact(_change="20260101T000000-aaaaaa")
    assert result["failed"]
    assert "now abandoned" in result["msg"]
    assert host.manifest() == before


def test_abandoning_leaves_no_trace_on_a_host_that_knows_nothing_of_us(host):
    transaction.abandon("20260101T000000-aaaaaa")
    assert not (host.top / "rampart").exists()


def test_abandoning_takes_an_applied_change_back_and_leaves_a_confirmed_one(host):
    before = host.manifest()
    change = host.transact()["change"]
    assert transaction.abandon(change).state == "reverted"
    assert host.manifest() == before
    change = host.change()
    assert transaction.abandon(change).state == "confirmed"


def test_a_module_run_twice_for_one_change_does_nothing_the_second_time(host):
    change = host.change()
    result = host.transact([{"path": f"{host.etc}/more", "content": "x", "owner": os.getuid()}], _change=change)
    assert "it is now confirmed" in result["msg"]
    assert not (host.etc / "more").exists()
    assert host.state()[change] == "confirmed"


# --- homes belong to others ------------------------------------------------------------------------------------------


def divert(host, owner):
    """The owner of a home puts a link to another place where its directory was."""
    (host.top / "elsewhere").mkdir()
    (host.etc / "conf.d").rename(host.top / "aside")
    (host.etc / "conf.d").symlink_to(host.top / "elsewhere")
    os.chown(host.etc / "conf.d", owner, owner, follow_symlinks=False)


as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to somebody else")


@as_root
def test_nothing_is_written_through_a_link_that_somebody_else_puts_on_the_way(host, monkeypatch):
    wish = {"path": f"{host.etc}/conf.d/mine", "content": "x", "validate": ["check", "%s"]}
    run = host.run

    def meanwhile(argv, timeout=60):
        if argv[0] == "check":
            divert(host, 65534)
        return run(argv, timeout)

    monkeypatch.setattr(transaction, "run", meanwhile)
    result = host.transact([{"path": f"{host.etc}/first", "content": "x"}, wish])
    assert "a link that root did not make" in result["msg"]
    assert result["failed"]
    assert not list((host.top / "elsewhere").iterdir())
    assert not (host.etc / "first").exists()


@as_root
@pytest.mark.parametrize("state", ["file", "absent"])
def test_a_diverted_file_does_not_keep_the_rest_from_being_taken_back(host, state):
    other = {"path": f"{host.etc}/conf.d/site.conf", "state": state, "content": "ours\n"}
    change = host.transact([{"path": f"{host.etc}/first", "content": "x"}, other])["change"]
    divert(host, 65534)
    host.activate()
    timer_fires(host)
    assert host.state()[change] == "reverted"
    assert not (host.etc / "first").exists()
    assert not list((host.top / "elsewhere").iterdir())
    (trouble,) = transaction.Change.load(change).meta["reverted"]["troubles"]
    assert "a link that root did not make" in trouble


@as_root
def test_a_link_that_root_made_is_followed(host):
    divert(host, 0)
    host.change([{"path": f"{host.etc}/conf.d/mine", "content": "x"}])
    assert (host.top / "elsewhere/mine").read_text() == "x"
    host.undo()
    assert not list((host.top / "elsewhere").iterdir())


def test_a_relative_link_and_a_missing_directory(host):
    (host.etc / "beside").symlink_to("../etc/./conf.d")
    with transaction.anchored(f"{host.etc}/beside/site.conf") as path:
        assert transaction.read_file(path) == b"theirs\n"
    with pytest.raises(FileNotFoundError), transaction.anchored(f"{host.etc}/none/x"):
        pass
    with pytest.raises(NotADirectoryError), transaction.anchored(f"{host.etc}/main.conf/x"):
        pass
    (host.etc / "round").symlink_to("round")
    with pytest.raises(transaction.Diverted), transaction.anchored(f"{host.etc}/round/x"):
        pass


# --- clocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-10 * 365 * 86400, 10 * 365 * 86400])
def test_a_clock_that_jumps_neither_ends_nor_prolongs_the_wait(host, monkeypatch, jump):
    change = transaction.Change.load(host.transact(confirm_timeout=50, keep_days=10**6)["change"])
    real, gmtime = time.time(), time.gmtime
    monkeypatch.setattr(time, "time", lambda: real + jump)
    monkeypatch.setattr(time, "gmtime", lambda seconds=None: gmtime(real + jump if seconds is None else seconds))
    assert 45 < change.remaining() <= 50
    timer = next(call for call in host.calls if call[0] == "systemd-run")
    assert "--on-active=50" in timer  # by systemd's monotonic clock
    assert "still waiting" in host.transact(confirm_timeout=-29)["msg"]
    assert transaction.confirm_change(change.id).state == "confirmed"


def test_undo_goes_by_the_order_of_changes_not_by_clocks(host):
    before = host.manifest()
    mine = {"path": f"{host.etc}/main.conf", "owner": os.getuid(), "group": os.getgid(), "mode": "0640"}
    host.change([{**mine, "content": "one"}], _change="20300101T000000-aaaaaa")
    host.change([{**mine, "content": "two"}], _change="20200101T000000-bbbbbb")
    assert [change.id[:4] for change in transaction.changes()] == ["2030", "2020"]
    host.undo(confirm="none", activate=[])
    assert {k: v for k, v in host.manifest().items() if k != "live"} == {k: v for k, v in before.items() if k != "live"}


# --- undo -----------------------------------------------------------------------------------------------------------


def write(host, name, content, role="test", **params):
    return host.change([{"path": f"{host.etc}/{name}", "content": content, "owner": os.getuid(), "group": os.getgid()}],
                       role=role, **params)  # fmt: skip


def undone(host, *args, **params):
    """Undo and confirm; what was undone."""
    result = host.undo(*args, confirm="none", **params)
    assert not result.get("failed"), result["msg"]
    return result["undone"]


def text(host, name):
    path = host.etc / name
    return path.read_text() if path.exists() else None


def test_undo_of_all_is_byte_for_byte_and_can_be_repeated(host):
    before = host.manifest()
    change = host.change()
    again = write(host, "main.conf", "newer\n")
    assert undone(host) == [change, again]
    assert host.manifest() == before
    assert set(host.state().values()) == {"undone", "confirmed"}
    result = host.undo()
    assert (result["changed"], result["undone"], result["known"]) == (False, [], True)


def test_undo_in_check_mode_shows_what_would_come_back(host):
    host.change()
    hardened = host.manifest()
    predicted = host.undo(check_mode=True)
    assert predicted["changed"]
    assert host.manifest() == hardened
    assert host.undo()["files"] == predicted["files"]


def test_undo_refuses_an_edited_file_and_can_be_forced(host):
    write(host, "main.conf", "new\n")
    write(host, "other.conf", "new\n")
    (host.etc / "other.conf").write_text("edited\n")
    edited = host.manifest()
    refused = host.undo()
    assert refused["msg"].startswith(f"edited since, so that undoing would lose it: {host.etc}/other.conf. Nothing was")
    assert host.manifest() == edited
    undone(host, force=True)
    assert (text(host, "main.conf"), text(host, "other.conf")) == ("old\n", "same\n")


def test_undo_refuses_where_the_directory_is_gone_and_can_leave_the_file_out(host):
    write(host, "main.conf", "new\n")
    (host.etc / "home").mkdir()
    (host.etc / "home/key").write_text("its own\n")
    host.change([{"path": f"{host.etc}/home/key", "state": "absent"}])
    (host.etc / "home").rmdir()
    assert host.undo()["msg"].startswith(f"the directory is gone: {host.etc}/home/key. Nothing was changed; make it")
    assert text(host, "main.conf") == "new\n"
    host.undo(force=True, confirm="none")
    assert host.warnings == [f"{host.etc}/home/key is left out: its directory is gone"]
    assert (text(host, "main.conf"), (host.etc / "home").exists()) == ("old\n", False)
    assert undone(host) == []


def test_undo_of_what_is_already_back_is_no_edit(host):
    write(host, "main.conf", "new\n")
    write(host, "fresh", "x")
    (host.etc / "fresh").unlink()
    assert len(undone(host)) == 2
    assert text(host, "main.conf") == "old\n"


def test_undo_by_role_run_and_change(host):
    write(host, "main.conf", "1", role="ssh", _run="a")
    second = write(host, "other.conf", "2", role="firewall", _run="a")
    write(host, "fresh", "3", role="ssh", _run="b")
    undone(host, "run:b")
    assert (text(host, "main.conf"), text(host, "fresh")) == ("1", None)
    undone(host, "role:ssh")
    assert (text(host, "main.conf"), text(host, "other.conf")) == ("old\n", "2")
    undone(host, f"change:{second}")
    assert text(host, "other.conf") == "same\n"
    assert host.undo("role:nonsense")["known"] is False
    for nonsense in ("ssh", "role:", "all:x", "file:/etc"):
        assert "say all, run:ID" in host.undo(nonsense)["msg"]


def test_undo_in_the_middle_names_the_later_change(host):
    first = write(host, "main.conf", "1", role="ssh")
    second = write(host, "main.conf", "2", role="firewall")
    refused = host.undo("role:ssh")
    assert f"{host.etc}/main.conf (by the later change {second} of role firewall)" in refused["msg"]
    assert text(host, "main.conf") == "2"
    assert undone(host, "role:ssh", force=True) == [first]
    assert text(host, "main.conf") == "old\n"


def test_undo_around_a_change_that_stays_keeps_the_older_original(host):
    """ssh, firewall, ssh wrote a file: undoing ssh goes back to firewall's, and the rest stays to be had."""
    first = write(host, "main.conf", "1", role="ssh")
    second = write(host, "main.conf", "2", role="firewall")
    third = write(host, "main.conf", "3", role="ssh")
    assert undone(host, "role:ssh") == [third]
    assert text(host, "main.conf") == "2"
    assert undone(host, "role:firewall") == [second]
    assert text(host, "main.conf") == "1"
    assert undone(host) == [first]
    assert text(host, "main.conf") == "old\n"


def test_an_edit_above_an_older_change_of_another_role_is_seen(host):
    write(host, "main.conf", "1", role="firewall")
    write(host, "main.conf", "2", role="ssh")
    (host.etc / "main.conf").write_text("edited")
    assert "edited since" in host.undo("role:ssh")["msg"]
    assert text(host, "main.conf") == "edited"


def test_an_undoing_that_died_before_its_marks_counts(host, monkeypatch):
    write(host, "main.conf", "1")
    monkeypatch.setattr(transaction, "finish", lambda change: None)
    undone(host)
    assert set(host.state().values()) == {"confirmed"}
    again = host.undo()
    assert (again["changed"], again["undone"]) == (False, [])


@pytest.mark.parametrize("device", ["same", "other"])
def test_people_s_files_in_a_directory_that_goes_are_kept_and_come_back(host, monkeypatch, device):
    rename = os.rename

    def across(source, target, **more):
        if ("/rampart/" in str(source)) != ("/rampart/" in str(target)):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target, **more)

    if device == "other":
        monkeypatch.setattr(os, "rename", across)
        monkeypatch.setattr(
            transaction,
            "run",
            lambda argv, timeout=60: (
                (subprocess.run(argv, check=False).returncode, "") if argv[0] == "cp" else host.run(argv, timeout)
            ),
        )
    host.change()
    file = host.etc / "fresh/deep/mine"
    file.write_text("work")
    file.chmod(0o600)
    if os.getuid() == 0:
        os.chown(file, 1234, 1234)
    hardened, owner = host.manifest(), file.stat().st_uid
    undoing = host.undo()["change"]
    assert not (host.etc / "fresh").exists()
    timer_fires(host)
    assert host.manifest() == hardened
    assert (file.read_text(), file.stat().st_uid) == ("work", owner)
    undoing = host.undo(confirm="none")["change"]
    assert list((host.top / "rampart/changes" / undoing / "kept").rglob("mine"))


# --- the journal ----------------------------------------------------------------------------------------------------


def test_pruning_by_count_spares_what_is_pending(host):
    ids = [write(host, "main.conf", str(number)) for number in range(4)]
    pending = transaction.Change.load(ids[0])
    pending.set_state("applied")
    transaction.prune(2, 365)
    assert list(host.state()) == [ids[0], *ids[2:]]


def test_pruning_by_age_spares_what_is_pending(host):
    ids = [write(host, "main.conf", str(number)) for number in range(3)]
    for number, when in ((0, "2000-01-01T00:00:00Z"), (1, "2000-01-01T00:00:00Z"), (2, transaction.now())):
        change = transaction.Change.load(ids[number])
        change.meta["when"] = when
        change.save()
    transaction.Change.load(ids[0]).set_state("armed")
    transaction.prune(100, 30)
    assert list(host.state()) == [ids[0], ids[2]]


def test_the_confirmation_prunes_as_the_task_said(host):
    ids = [write(host, "main.conf", str(number), keep=2) for number in range(4)]
    assert list(host.state()) == ids[2:]


def test_what_a_dying_prune_left_is_cleared_away(host):
    change = write(host, "main.conf", "1")
    os.unlink(transaction.Change(change).dir + "/change.json")
    host.transact([])
    assert not os.path.exists(transaction.Change(change).dir)


def test_sensitive_contents_are_in_no_result(host):
    secret, old = "squeamish ossifrage", "older secret"
    (host.etc / "main.conf").write_text(old)
    wish = {"path": f"{host.etc}/main.conf", "content": secret, "owner": os.getuid(), "sensitive": True,
            "validate": ["check", "%s"]}  # fmt: skip
    results = [host.transact([wish], check_mode=True), host.transact([wish])]
    transaction.confirm_change(results[-1]["change"])
    results += [host.undo(check_mode=True), *(change.summary() for change in transaction.changes())]

    def tell(argv, timeout=60):
        return (1, f"line 1: {secret}") if argv[0] == "check" else host.run(argv, timeout)

    transaction.run, run = tell, transaction.run
    try:
        results.append(host.transact([{**wish, "content": secret + "!"}]))
    finally:
        transaction.run = run
    assert results[-1]["failed"]
    for result in results:
        said = json.dumps(result)
        assert secret not in said
        assert old not in said
        for data in (secret, old):
            assert hashlib.sha256(data.encode()).hexdigest() not in said


# --- commands and processes, for real -------------------------------------------------------------------------------

REAL_RUN = transaction.run


def test_what_a_command_says_and_how_it_ends():
    assert REAL_RUN(["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\nerr")
    assert REAL_RUN(["/no/such/program"])[0] == 127
    assert REAL_RUN(["/etc/passwd"])[0] == 126


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    started = time.monotonic()
    script = f"(sleep 2; touch {tmp_path}/late) & sleep 60"
    assert REAL_RUN(["sh", "-c", script], 0.5) == (124, "no answer within 0 seconds")
    assert time.monotonic() - started < 2
    time.sleep(2)
    assert not (tmp_path / "late").exists()


def test_a_daemon_left_behind_does_not_hold_the_run_up():
    started = time.monotonic()
    assert REAL_RUN(["sh", "-c", "sleep 5 & echo started"], 4) == (0, "started")
    assert time.monotonic() - started < 3


def test_a_command_ends_with_the_run_that_started_it(tmp_path):
    pid = os.fork()
    if pid == 0:
        REAL_RUN(["sh", "-c", f"sleep 1; touch {tmp_path}/late"])
        os._exit(0)
    time.sleep(0.4)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    time.sleep(1.2)
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("settle", ["nobody", "confirm"])
def test_without_systemd_a_process_takes_the_change_back(host, monkeypatch, settle):
    source = transaction.inspect.getsource(transaction).replace("'/var/lib/rampart'", repr(transaction.ROOT))
    monkeypatch.setattr(transaction.inspect, "getsource", lambda module: source)
    monkeypatch.setattr(transaction, "has_systemd", lambda: False)
    live = [["cp", f"{host.etc}/main.conf", f"{host.top}/live"]]
    monkeypatch.setattr(
        transaction,
        "run",
        lambda argv, timeout=60: (REAL_RUN if argv[0] in ("cp", "systemctl") else host.run)(argv, timeout),
    )
    before = host.manifest()
    change = host.transact(activate=live, confirm_timeout=1)["change"]
    assert (host.top / "live").read_text() == "new\n"
    if settle == "confirm":
        transaction.confirm_change(change)
        applied = host.manifest()
        time.sleep(1.5)
        assert host.manifest() == applied
        return
    deadline = time.monotonic() + 20
    while host.state()[change] != "reverted" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert host.manifest() == before


# --- files in which a program keeps notes, and files that a program makes --------------------------------------------


def test_what_does_not_count_neither_changes_a_file_nor_stands_in_the_way_of_undoing(host):
    wish = {"path": f"{host.etc}/codes", "content": "secret\nseen\n12345678\n", "mode": "0600",
            "ignore": r" \d+|^\d+\n", "owner": os.getuid(), "group": os.getgid()}  # fmt: skip
    host.change([wish])
    (host.etc / "codes").write_text("secret\nseen 17 18\n")
    assert host.transact([wish])["changed"] is False
    assert [one["action"] for one in host.transact([{**wish, "mode": "0400"}], check_mode=True)["files"]] == ["mode"]
    edited = (host.etc / "codes").read_text()
    for text in ("other\nseen 17\n", "secret\nseen\nmore\n"):
        (host.etc / "codes").write_text(text)
        assert host.transact([wish], check_mode=True)["files"][0]["action"] == "change"
        assert "edited since" in host.undo()["msg"]
    (host.etc / "codes").write_text(edited)
    undoing = host.undo()
    assert transaction.confirm_change(undoing["change"]).state == "confirmed"
    assert not (host.etc / "codes").exists()


def test_a_file_that_was_edited_since_the_survey_is_left(host):
    path = host.etc / "gone.conf"
    wish = {"path": str(path), "state": "absent", "seen": transaction.stamp(path.lstat())}
    path.chmod(0o644)  # by another role of the run
    assert host.transact([wish], check_mode=True)["files"][0]["action"] == "remove"
    path.write_text("y\n")
    result = host.transact([wish])
    assert result["failed"] and "edited since this run looked at it" in result["msg"]
    assert path.read_text() == "y\n"
    path.unlink()
    assert host.transact([wish])["changed"] is False


@pytest.fixture
def tree(tmp_path):
    """Parts that a program, `cat`, makes a whole of."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/10-theirs").write_text("theirs\n")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/file").write_text("theirs\n")
    return tmp_path


def derivation(tree, command="cat", holds="grep -q ours"):
    whole = f"{tree}/whole/file"
    return {
        "inputs": [f"{tree}/parts", f"{tree}/whole"],
        "command": ["sh", "-c", f'{command} "$0{tree}/parts/"* >"$0{whole}"', "%s"],
        "outputs": [whole],
        "holds": ["sh", "-c", f'{holds} "$0{whole}"', "%s"],
    }


def part(tree, state="file"):
    return {"path": f"{tree}/parts/20-ours", "content": "ours\n", "state": state, "mode": None, "owner": os.getuid(),
            "group": os.getgid(), "target": None}  # fmt: skip


def test_what_a_program_makes_of_the_files_is_part_of_the_change_and_made_elsewhere(tree):
    (made,) = confirmed_change.derive(derivation(tree), [part(tree)])
    assert (made["path"], made["content"]) == (f"{tree}/whole/file", b"theirs\nours\n")
    assert (tree / "whole/file").read_text() == "theirs\n"
    assert sorted(os.listdir(tree / "parts")) == ["10-theirs"]


def test_a_program_with_nothing_to_do_is_not_run(tree):
    (tree / "parts/20-ours").write_text("ours\n")
    (tree / "whole/file").write_text("theirs\nours\n")
    assert confirmed_change.derive(derivation(tree, command="false"), [part(tree)]) == []
    (tree / "whole/file").write_text("theirs\n")  # somebody took it out again
    assert confirmed_change.derive(derivation(tree), [part(tree)])[0]["content"] == b"theirs\nours\n"


def test_what_is_to_go_is_gone_for_the_program_too(tree):
    (tree / "parts/20-ours").write_text("ours\n")
    (tree / "whole/file").write_text("theirs\nours\n")
    (made,) = confirmed_change.derive(derivation(tree, holds="! grep -q ours"), [part(tree, "absent")])
    assert made["content"] == b"theirs\n"


@pytest.mark.parametrize(("command", "words"), [("false", "returned 1"), ("echo refuses >&2; true", "refuses")])
def test_a_program_that_does_not_do_it_is_quoted(tree, command, words):
    with pytest.raises(TransactionError, match=words):
        confirmed_change.derive(derivation(tree, command=command), [part(tree)])


# --- owner and mode alone, in place -----------------------------------------------------------------------------------


def rights(path, mode, optional=True):
    """An entry that gives `path` a mode and leaves what is in it, and whoever has it open, alone."""
    before = transaction.describe_as(
        str(path), {"kind": "rights", **({"sha256": ""} if mode_of(path) & 0o6000 else {})}
    )
    return {"path": str(path), "action": "mode", "before": before, "after": {**before, "mode": mode}, "data": None,
            "spec": {"optional": optional}}  # fmt: skip


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def narrow(host, optional=True):
    """Wishes: one file, one directory and one set-id program, whatever their modes are when this is asked."""
    wanted = {"conf.d": 0o700, "open": 0o600, "tool": 0o755}
    return lambda: {"entries": [rights(host.etc / name, mode, optional) for name, mode in wanted.items()]}


@pytest.fixture
def loose(host):
    """The host with something to narrow."""
    for name, mode in (("open", 0o666), ("tool", 0o4755)):
        (host.etc / name).write_text(name)
        (host.etc / name).chmod(mode)
    (host.etc / "conf.d").chmod(0o777)
    return host


@pytest.mark.parametrize("rescue", [timer_fires, reboot])
def test_modes_given_by_a_run_killed_anywhere_are_as_before(loose, rescue):
    before = loose.manifest()
    for step in every_kill(loose, lambda: loose.transact(narrow(loose))):
        assert_armed_or_untouched(loose, before, step)
        rescue(loose)
        assert loose.manifest() == before, f"step {step}"


def test_modes_change_in_place_and_come_back(loose):
    before, file = loose.manifest(), os.stat(loose.etc / "open")
    os.link(loose.etc / "open", loose.etc / "same")
    with (loose.etc / "open").open("a") as writer:
        loose.change(narrow(loose))
        assert mode_of(loose.etc / "same") == 0o600
        writer.write(" and more")  # a log whose writer goes on
    assert (loose.etc / "open").read_text() == "open and more"
    assert os.stat(loose.etc / "open").st_ino == file.st_ino
    assert not list((Path(transaction.JOURNAL)).glob("*/before/*"))
    assert loose.transact(narrow(loose))["changed"] is True  # the plan says what differs; its maker compares
    (loose.etc / "same").unlink()
    loose.undo()
    (loose.etc / "open").write_text("open")
    now = loose.manifest()
    assert {name: seen[:3] for name, seen in now.items() if name != "live" and name.startswith("etc")} == {
        name: seen[:3] for name, seen in before.items() if name != "live" and name.startswith("etc")
    }


def test_modes_show_in_diff_and_result(loose):
    said = loose.transact(narrow(loose), check_mode=True)
    assert [item["before"] for item in said["diff"]][1].startswith("# file, mode 0666")
    assert [item["action"] for item in said["files"]] == ["mode"] * 3


def test_what_is_gone_or_another_s_by_then_is_left_alone(loose, monkeypatch):
    plan = narrow(loose)()
    (loose.etc / "open").unlink()
    (loose.etc / "open").symlink_to("main.conf")
    (loose.etc / "conf.d").rename(loose.etc / "moved")
    before = mode_of(loose.etc / "main.conf")
    said = loose.transact(lambda: plan)
    assert said["vanished"] == 2
    assert mode_of(loose.etc / "main.conf") == before
    assert mode_of(loose.etc / "tool") == 0o755
    transaction.confirm_change(said["change"])
    (loose.etc / "open").unlink()
    (loose.etc / "open").write_text("a later file")
    loose.undo()
    assert mode_of(loose.etc / "tool") == 0o4755
    assert mode_of(loose.etc / "open") != 0o666


def test_what_must_be_there_and_is_not_fails_the_change(loose):
    plan = narrow(loose, optional=False)()
    (loose.etc / "open").chmod(0o644)
    said = loose.transact(lambda: plan)
    assert "was changed while" in said["msg"]
    assert mode_of(loose.etc / "conf.d") == 0o777
    assert mode_of(loose.etc / "open") == 0o644


@pytest.mark.parametrize("force", [False, True])
def test_set_id_bits_come_back_to_the_same_program_alone(loose, force):
    loose.change(narrow(loose))
    (loose.etc / "tool").write_text("something else")
    said = loose.undo(force=force)
    assert mode_of(loose.etc / "tool") == 0o755
    assert ("edited since" in said.get("msg", "")) is not force
    assert mode_of(loose.etc / "open") == (0o666 if force else 0o600)


def test_undoing_all_brings_back_mode_and_content_whichever_changed_first(loose):
    mine = {"owner": os.getuid(), "group": os.getgid()}
    content = {"path": f"{loose.etc}/open", "content": "new\n", "mode": "0600", **mine}
    loose.change(narrow(loose))
    loose.change(files=[content])
    loose.undo()
    assert (loose.etc / "open").read_text() == "open"
    assert mode_of(loose.etc / "open") == 0o666
    loose.change(files=[{**content, "mode": "0644"}], role="one")
    loose.change(lambda: {"entries": [rights(loose.etc / "open", 0o400)]}, role="two")
    loose.undo()
    assert (loose.etc / "open").read_text() == "open"
    assert mode_of(loose.etc / "open") == 0o666


def test_names_are_shown_in_one_line_of_plain_characters():
    assert transaction.readable("/a b/ü") == "/a b/ü"
    assert transaction.readable(os.fsdecode(b"/x\xff\n\x1b[2J")) == "/x\\xff\\n\\x1b[2J"


def test_a_long_list_is_shown_in_part_and_undone_whole(loose, monkeypatch):
    monkeypatch.setattr(transaction, "SHOWN", 2)
    said = loose.transact(narrow(loose), check_mode=True)
    assert len(said["files"]) == 2
    assert said["diff"][-1] == {"prepared": "and 1 more\n"}
    change = loose.change(narrow(loose))
    assert "and 1 more files" in transaction.Change.load(change).summary()["notes"]
    loose.undo()
    assert mode_of(loose.etc / "tool") == 0o4755


# --- files of accounts

SHADOW = b"root:$y$r:1:0:99999:7:::\nold:!:1:0:99999:7:::\n"
LOCKED = b"root:!$y$r:1:0:99999:7:::\nold:!:1:0:99999:7:::\nalice:!:2:0:99999:7:::\n"


def test_undo_gives_back_the_very_file_where_nobody_else_wrote_to_it():
    assert transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, LOCKED, set()) == (SHADOW, [])


def test_undo_leaves_accounts_of_packages_and_fields_that_it_had_not_changed():
    now = LOCKED.replace(b"root:!$y$r:1:0:99999", b"root:!$y$r:1:0:365") + b"_chrony:!:3::::::\n"
    merged, edited = transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, now, set())
    assert merged == b"root:$y$r:1:0:365:7:::\nold:!:1:0:99999:7:::\n_chrony:!:3::::::\n" and not edited


def test_undo_does_not_lose_a_password_that_was_set_since():
    now = LOCKED.replace(b"root:!$y$r", b"root:$y$new")
    assert transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, now, set())[1] == ["root"]
    assert transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, now, set(), force=True) == (SHADOW, [])


def test_undo_does_not_take_away_an_account_that_has_been_given_a_password_unasked():
    now = LOCKED.replace(b"alice:!:2:0:99999", b"alice:$y$new:2:0:365")
    assert transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, now, set())[1] == ["alice"]
    assert transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, now, set(), force=True) == (SHADOW, [])
    aged = LOCKED.replace(b"alice:!:2:0:99999", b"alice:!:2:0:365")
    assert transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, aged, set()) == (SHADOW, [])


def test_undo_of_a_group_takes_out_and_puts_back_members_only_of_its_own():
    before, after = b"sudo:x:27:test,dora\n", b"sudo:x:27:dora,alice\n"
    now = b"sudo:x:27:dora,alice,package\nnew:x:900:\n"
    merged, edited = transaction.merge_accounts("/etc/group", before, after, now, set())
    assert merged == b"sudo:x:27:dora,package,test\nnew:x:900:\n" and not edited


def test_undo_puts_back_an_account_that_was_taken_away_and_not_one_that_somebody_took_away_since():
    assert transaction.merge_accounts("/etc/passwd", b"a:x:1\nb:x:2\n", b"a:x:1\n", b"a:x:1\nc:x:3\n", set())[0] == (
        b"a:x:1\nb:x:2\nc:x:3\n")  # fmt: skip
    before, now = b"a:x:1\nb:x:2\n+::::\n", b"a:x:1\n+::::\nc:x:3\n"
    assert transaction.merge_accounts("/etc/passwd", before, b"a:x:1\n+::::\n", now, set())[0] == (
        b"a:x:1\nb:x:2\nc:x:3\n+::::\n")  # fmt: skip
    assert transaction.merge_accounts("/etc/passwd", b"a:x:1\n", b"a:y:1\n", b"c:x:3\n", set()) == (b"c:x:3\n", [])


def test_what_was_edited_between_two_changes_the_later_one_has_taken_over():
    emptied = LOCKED.replace(b"root:!$y$r", b"root:")
    again, over = emptied.replace(b"root:", b"root:!"), set()
    found, edited = transaction.merge_accounts("/etc/shadow", emptied, again, again, over)
    assert found == emptied and not edited
    assert transaction.merge_accounts("/etc/shadow", SHADOW, LOCKED, found, over) == (SHADOW, [])
