# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever fails or is killed during a change, the host ends wholly old or wholly new, is reachable, and says so.

Clocks are not among it: a container has none of its own. That nothing goes by them is shown in
tests/unit/plugins/module_utils/test_transaction.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import time

import pytest
from faults import KEYS, PREFIX, PREPARE, Host, Play, after, change, difference, hold, lab, run, shell, until
from lab import V4, image_of

BOTH = ("bookworm", "trixie")
HOSTS: dict[str, Host] = {}


def address(place):
    """One that the host keeps over a restart, different for each worker of pytest-xdist."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return f"{V4}.0.{100 + 10 * worker + place}"


def get_host(kind, image, *podman, place):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if kind not in HOSTS:
        HOSTS[kind] = Host(f"fault-{kind}-{worker}", image, "--ip", address(place), *podman)
    elif not HOSTS[kind].clean:  # a test failed on it
        HOSTS[kind].create()
    return HOSTS[kind]


@pytest.fixture(scope="session", autouse=True)
def hosts():
    yield HOSTS
    for host in HOSTS.values():
        host.down()


@pytest.fixture
def host(request):
    image = getattr(request, "param", "bookworm")
    found = get_host(image, image, place=BOTH.index(image))
    found.before = found.manifest()
    found.entries = set(found.journal())
    found.clean = False
    found.sh("rm -f /run/go /run/reached*")
    yield found
    if found.clean and found.manifest() != found.before:
        undo(found)


@pytest.fixture
def small():
    """A host on which two directories lie on very small disks: one of targets, and the journal's."""
    found = get_host("small", "bookworm", "--tmpfs", "/etc/small:size=96k,mode=0755", "--tmpfs",
                     "/var/lib/rampart:size=512k,mode=0700", place=2)  # fmt: skip
    found.sh("rm -rf /etc/small/* /var/lib/rampart/fill; head -c 20000 /dev/zero | tr '\\0' o >/etc/small/big; "
             "echo gone >/etc/small/gone")  # fmt: skip
    found.before, found.entries, found.clean = found.manifest(), set(found.journal()), False
    yield found
    if found.clean and found.manifest() != found.before:
        undo(found)


# With pytest-xdist, what needs another host than the usual one goes to one worker, so that few hosts have to be made
small_hosts, trixie_host = pytest.mark.xdist_group("small"), pytest.mark.xdist_group("trixie")
both = pytest.mark.parametrize("host", ["bookworm", pytest.param("trixie", marks=trixie_host)], indirect=True)


def quick(**more):
    """A change that nobody will confirm: the timer is to fire soon, and yet not before a slow machine has got there."""
    return change(confirm_timeout=10, **more)


def start(host, wishes, *options, **env):
    task = {"name": "Change", "rampart.hardening.confirmed_change": wishes}
    return Play(host, [task], options, env)


def undo(host, what="all", **args):
    play = Play(host, [{"rampart.hardening.undo": {"what": what, **args}}])
    said = play.end()
    assert play.code == 0, said


def state(host):
    """The state of the change that this test made; empty until the journal knows of it."""
    return "".join(entry["state"] for name, entry in sorted(host.journal().items()) if name not in host.entries)


def reached(host, marker="reached"):
    until(f"{marker} on the host", lambda: host.sh(f"ls /run/{marker}", check=False))


def go(host):
    host.sh("touch /run/go")


def assert_settled(host, state_, manifest):
    """Reachable over a fresh login, exactly this manifest, nothing of ours left, and the journal says the same."""
    host.settled()
    assert host.reachable()
    assert not difference(host.manifest(), manifest)
    assert state(host) == state_
    host.clean = True


def assert_old(host, play, *words, journal="reverted"):
    said = play.end()
    assert play.code == 2, said
    assert "changed=0" in said
    for word in words:
        assert word in said, said
    assert_settled(host, journal, host.before)


def assert_new(host, play, wishes):
    said = play.end()
    assert play.code == 0, said
    assert_settled(host, "confirmed", after(host.before, wishes))
    return said


# --- steps that fail ------------------------------------------------------------------------------------------------


@both
def test_nothing_fails(host):
    wishes = change()
    assert_new(host, start(host, wishes), wishes)
    assert "maxauthtries 5" in host.sh("sshd -T")
    again = start(host, wishes)
    assert "changed=0" in again.end()
    undo(host)
    assert not difference(host.manifest(), host.before)
    assert host.reachable()


AS_BEFORE = "the host is as before"
UNTOUCHED = "nothing on this host was changed"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"activate": [shell("echo no such luck; exit 3")]}, ("returned 3: no such luck", AS_BEFORE)),
        ({"validate": [shell("grep -q new /etc/fault.conf && echo bad set && false")]}, ("bad set", AS_BEFORE)),
        ({"active": [shell("echo not live; false")]}, ("not live", AS_BEFORE)),
        ({"prove": [["true"], shell("echo no proof; false")]}, ("no proof", AS_BEFORE)),
        ({"activate": [["sleep", "600"]], "confirm_timeout": 4}, ("no answer within", AS_BEFORE)),
        ({"activate": [["no-such-program"]]}, ("not found", AS_BEFORE)),
    ],
    ids=["activate", "whole-set", "active", "prove", "hung-activate", "missing-program"],
)
def test_a_step_fails(host, more, words):
    wishes = change(revert=[["systemctl", "reload", "ssh.service"]], **more)
    assert_old(host, start(host, wishes), *words)
    assert not host.sh("pgrep -x sleep", check=False)


def test_a_file_that_does_not_validate(host):
    wishes = change()
    wishes["files"][0]["content"] = "NoSuchKeyword yes\n"
    assert_old(host, start(host, wishes), "Bad configuration option", UNTOUCHED, journal="")


def test_a_directory_stands_where_a_file_should_be(host):
    host.sh("rm /etc/fault-mode.conf && mkdir /etc/fault-mode.conf")
    host.before = host.manifest()
    assert_old(host, start(host, change()), "/etc/fault-mode.conf is a directory on this host", journal="")
    host.sh("rmdir /etc/fault-mode.conf; echo same >/etc/fault-mode.conf; chmod 666 /etc/fault-mode.conf")
    host.before = host.manifest()


def test_a_file_that_cannot_be_replaced(host):
    """One of the last files is a mount point, as container runtimes make them: the rename fails half-way."""
    inside = ["nsenter", "--mount", "--pid", "--target", host.pid()]
    host.sh("cp -a /etc/fault-mode.conf /run/mounted")
    run(*inside, "mount", "--bind", "/run/mounted", "/etc/fault-mode.conf")
    try:
        host.before = host.manifest()
        assert_old(host, start(host, change()), "Device or resource busy", AS_BEFORE)
    finally:
        run(*inside, "umount", "/etc/fault-mode.conf")
    host.before = host.manifest()


# --- access is lost -------------------------------------------------------------------------------------------------


@both
def test_sshd_refuses_the_automation_account(host):
    wishes = quick()
    wishes["files"][0]["content"] = "DenyUsers automation\n"
    assert_old(host, start(host, wishes), "no new connection to the host could be opened", "not confirmed within 10 s",
               AS_BEFORE)  # fmt: skip


DROP = """table inet fault {
    chain in { type filter hook input priority 0; policy drop; iif lo accept; }
    chain out { type filter hook output priority 0; policy drop; oif lo accept; }
}"""


@both
def test_a_firewall_drops_the_controller(host):
    wishes = quick(activate=[["nft", "-f", "/etc/fault.nft"]], revert=[["nft", "delete", "table", "inet", "fault"]])
    wishes["files"].append({"path": "/etc/fault.nft", "content": DROP})
    host.sh("command -v nft || { apt-get update && apt-get install -y nftables; }")
    host.before = host.manifest()
    assert_old(host, start(host, wishes), "not confirmed within 10 seconds", AS_BEFORE)
    assert "fault" not in host.sh("nft list tables")


# --- the controller is killed ---------------------------------------------------------------------------------------


@both
def test_the_controller_is_killed_after_arming(host):
    """What holds the run up between arming and the first file is the lock of the account files."""
    with held_account_lock(host):
        play = start(host, quick())
        until("armed", lambda: state(host) == "armed")
        assert not difference({k: v for k, v in host.manifest().items() if "rampart" not in k}, host.before)
        play.kill()
    assert_settled(host, "reverted", host.before)


@pytest.mark.parametrize("step", ["validate", "activate"])
def test_the_controller_is_killed_after_applying(host, step):
    play = start(host, quick(**{step: [hold("reached")]}, revert=[["systemctl", "reload", "ssh.service"]]))
    reached(host)
    assert host.sh("cat /etc/fault.conf") == "new\n"
    play.kill()
    go(host)
    assert_settled(host, "reverted", host.before)


class Held:
    """A run held up between its change and the confirmation: where it drops its first connection."""

    def __init__(self, folder, host, wishes):
        self.folder, wrapper = folder, folder / "ssh"
        wait = f"touch {folder}/reached; until [ -e {folder}/go ]; do sleep 0.05; done"
        wrapper.write_text(f'#!/bin/sh\ncase " $* " in *" -O stop "*) {wait};; esac\nexec ssh "$@"\n')
        wrapper.chmod(0o755)
        self.play = start(host, wishes, ANSIBLE_SSH_EXECUTABLE=str(wrapper))
        until("the end of the first connection", (folder / "reached").exists)

    def go(self):
        (self.folder / "go").touch()


@both
def test_the_controller_is_killed_before_confirming(host, tmp_path):
    Held(tmp_path, host, quick()).play.kill()
    assert state(host) == "applied"
    assert_settled(host, "reverted", host.before)
    listed = Play(host, [{"rampart.hardening.journal": None, "register": "it"}, {"debug": {"var": "it.listing"}}]).end()
    assert "reverted   fault" in listed


def test_the_controller_is_killed_while_it_proves(host):
    """The proof goes on without it: the change is as good as confirmed."""
    wishes = change(prove=[hold("reached")])
    play = start(host, wishes)
    reached(host)
    play.kill()
    go(host)
    assert_settled(host, "confirmed", after(host.before, wishes))


# --- the host is hit ------------------------------------------------------------------------------------------------


@both
def test_sshd_is_killed_in_mid_change(host):
    play = start(host, change(activate=[hold("reached")], revert=[["systemctl", "reload-or-restart", "ssh.service"]]))
    reached(host)
    host.kill("sshd")
    until("sshd is back", host.reachable)
    go(host)
    assert_old(host, play, "the connection was lost during the change", AS_BEFORE)


def test_sshd_is_killed_while_the_run_still_stages(host):
    """The run is alive and has not begun: it must not begin after the controller was told that it had not."""
    wishes = change()
    wishes["files"][1]["validate"] = hold("reached")
    play = start(host, wishes, "-vv")
    reached(host)
    host.kill("sshd")
    until("the controller is back and asks", lambda: "no confirmation yet: change" in play.text())
    go(host)
    said = play.end()
    assert AS_BEFORE in said, said
    host.settled()
    assert_settled(host, state(host), host.before)
    assert state(host) in ("abandoned", "reverted")


def test_the_module_is_killed_in_mid_change(host):
    play = start(host, change(activate=[hold("reached")], revert=[["systemctl", "reload", "ssh.service"]]))
    reached(host)
    pid = next(entry["pid"] for name, entry in host.journal().items() if name not in host.entries)
    host.sh(f"kill -KILL {pid}")
    assert_old(host, play, "the module did not finish", AS_BEFORE)
    assert not host.sh("pgrep -f '/run/[r]eached'", check=False), "the command outlives the run"


def test_the_network_is_cut_and_comes_back_later(host):
    play = start(host, quick(activate=[hold("reached")], revert=[["systemctl", "reload", "ssh.service"]]))
    reached(host)
    lab("host", "cut", host.name)
    try:
        go(host)
        until("the host takes it back", lambda: state(host) == "reverted")
    finally:
        lab("host", "mend", host.name)
    assert_old(host, play, AS_BEFORE)


def test_the_network_is_cut_for_a_moment(host):
    wishes = change(activate=[hold("reached")])
    play = start(host, wishes)
    reached(host)
    lab("host", "cut", host.name)
    go(host)
    time.sleep(2)
    lab("host", "mend", host.name)
    assert_new(host, play, wishes)


@both
@pytest.mark.parametrize("how", [(), ("--kill",)], ids=["reboot", "power-cut"])
def test_the_host_restarts_while_armed(host, how):
    """Long before the timer would have fired, and before sshd starts with what the change had put there."""
    wishes = change(activate=[hold("reached")], confirm_timeout=300, revert=[["false"]])
    wishes["files"][0]["content"] = "DenyUsers automation\n"
    play = start(host, wishes)
    reached(host)
    if how:
        lab("host", "cut", host.name)  # nobody is told: a process that is merely killed has its connection closed
    lab("host", "restart", host.name, *how)
    times = boot_times(host)
    assert times["rampart-revert.service"] < times["ssh.service"]
    assert_old(host, play, "the host restarted before the change was confirmed", AS_BEFORE)


def boot_times(host):
    """When systemd was done with a unit since the last boot, by the kernel's clock."""
    found = {}
    for line in host.sh("journalctl --boot --output json --identifier systemd").splitlines():
        entry = json.loads(line)
        if entry.get("JOB_TYPE") == "start" and entry.get("JOB_RESULT") == "done":
            found[entry.get("UNIT")] = int(entry["__MONOTONIC_TIMESTAMP"])
    return found


# --- full disks -----------------------------------------------------------------------------------------------------


def small_change(**more):
    wishes = quick(role="small", activate=[shell("head -c 200000 /dev/zero >/etc/small/fill; false")],
                   revert=[["true"]], **more)  # fmt: skip
    wishes["files"].append({"path": "/etc/small/big", "content": "n" * 20000})
    return wishes


@small_hosts
def test_the_disk_is_full_while_staging(small):
    wishes = change()
    wishes["files"].append({"path": "/etc/big", "content": "n" * 600_000})
    assert_old(small, start(small, wishes), "No space left on device", UNTOUCHED, journal="")


@small_hosts
def test_the_disk_is_full_while_applying(small):
    wishes = small_change()
    wishes["files"][-1]["content"] = "n" * 90_000
    assert_old(small, start(small, wishes), "No space left on device", AS_BEFORE)


@small_hosts
def test_the_disk_of_the_journal_is_full_while_reverting(small):
    wishes = change(activate=[shell("head -c 900000 /dev/zero >/var/lib/rampart/fill; false")], revert=[["true"]])
    assert_old(small, start(small, wishes), AS_BEFORE)


@small_hosts
def test_the_disk_of_a_file_is_full_while_reverting(small):
    """There is no room to write the old file beside the new one: it is written into the new one's room."""
    play = start(small, small_change())
    said = play.end()
    assert AS_BEFORE in said, said
    small.sh("rm /etc/small/fill")
    assert_settled(small, "reverted", small.before)


@small_hosts
def test_the_disk_is_full_and_a_removed_file_cannot_come_back_yet(small):
    """It says so, does not claim that the host is as before, goes on trying, and gets there when there is room."""
    wishes = small_change()
    wishes["files"].append({"path": "/etc/small/gone", "state": "absent"})
    play = start(small, wishes)
    said = play.end()
    assert play.code == 2
    assert "/etc/small/gone: [Errno 28] No space left on device" in said
    assert "the host goes on trying" in said
    assert AS_BEFORE not in said
    assert small.reachable()
    assert small.sh("cat /etc/fault.conf") == "old\n"
    assert "cannot be taken back" in start(small, change()).end()
    small.sh("rm /etc/small/fill")
    assert_settled(small, "reverted", small.before)


# --- other people ---------------------------------------------------------------------------------------------------


def test_two_runs_at_once_one_waits(host, tmp_path):
    first = change()
    second = change(files=[{"path": "/etc/fault-second.conf", "content": "x\n"}], role="second")
    one = Held(tmp_path, host, first)
    two = start(host, second)
    time.sleep(4)
    assert "fault-second" not in host.sh("ls /etc")
    one.go()
    assert one.play.end().count("changed=1") == two.end().count("changed=1") == 1
    host.settled()
    assert not difference(host.manifest(), after(after(host.before, first), second))
    host.clean = True


@pytest.mark.parametrize("phase", ["confirmation", "activation"])
def test_two_runs_at_once_one_is_refused_and_told_of_the_other(host, tmp_path, phase):
    wishes = change(**({} if phase == "confirmation" else {"activate": [hold("reached")]}))
    if phase == "confirmation":
        one = Held(tmp_path, host, wishes)
    else:
        one = start(host, wishes)
        reached(host)
    said = start(host, change(role="second", confirm_timeout=-27)).end()  # it waits 30 seconds longer than that
    name = next(name for name in host.journal() if name not in host.entries)
    assert f"change {name} of role fault by " in said
    assert "nothing was done, try again" in said
    assert "changed=0" in said
    go(host) if phase == "activation" else one.go()
    assert_new(host, one if phase == "activation" else one.play, wishes)


@contextlib.contextmanager
def held_account_lock(host):
    """As useradd, passwd and vipw hold it; until go, or for two minutes."""
    code = """import fcntl, os, time
with open("/etc/.pwd.lock", "r+") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX); open("/run/reached-lock", "w")
    while not os.path.exists("/run/go"): time.sleep(.05)"""
    host.sh(f"setsid timeout 120 python3 -c '{code}' >/dev/null 2>&1 &")
    reached(host, "reached-lock")
    try:
        yield
    finally:
        go(host)


def test_useradd_is_at_work(host):
    wishes = change()
    with held_account_lock(host):
        play = start(host, wishes)
        until("armed", lambda: state(host) == "armed")
        assert "automation:100000" not in host.sh("cat /etc/subuid")
    assert "changed=1" in assert_new(host, play, wishes)


def test_useradd_hangs(host):
    with held_account_lock(host):
        assert_old(host, start(host, change()), "locked by another program (/etc/.pwd.lock)", AS_BEFORE)


def test_a_file_is_edited_between_comparing_and_replacing(host):
    wishes = change()
    wishes["files"][0]["validate"] = shell("echo edited >/etc/fault-mode.conf")
    wishes["files"] = [wishes["files"][5], *wishes["files"][:5], *wishes["files"][6:]]
    play = start(host, wishes)
    said = play.end()
    assert "/etc/fault-mode.conf was edited while this run was about to replace it, and was left so" in said
    host.settled()
    found = difference(host.manifest(), host.before)
    assert set(found) == {"/etc/fault-mode.conf"}
    assert host.sh("cat /etc/fault-mode.conf") == "edited\n"
    assert host.reachable()
    host.sh("echo same >/etc/fault-mode.conf")
    assert_settled(host, "reverted", host.before)


# --- undo -----------------------------------------------------------------------------------------------------------


def tasks(*items):
    """Several changes in one play: (role, path, content)."""
    return [{"rampart.hardening.confirmed_change": {
        "role": role, "files": [{"path": path, "content": content, "mode": "0640", "group": "games"}]}}
        for role, path, content in items]  # fmt: skip


def play_book(host, *options):
    """The playbook that users run."""
    inventory = pathlib.Path(Play(host, []).folder.name) / "inventory.json"
    inventory.parent.mkdir(exist_ok=True)
    inventory.write_text(json.dumps({"all": {"hosts": {host.name: host.variables}}}))
    return run("ansible-playbook", "rampart.hardening.undo", "-i", inventory, *options, check=False)


def test_undo(host):
    """An edited file, a later change, a change in between, force, all, and all again."""
    said = Play(host, tasks(("one", "/etc/fault.conf", "1\n"), ("two", "/etc/fault.conf", "2\n"),
                            ("one", "/etc/fault.conf", "3\n"), ("one", "/etc/fault-one.conf", "x\n"))).end()
    assert "changed=4" in said
    host.sh("echo edited >/etc/fault-one.conf")
    refused = play_book(host, "-e", "undo=role:one")
    assert "edited since, so that undoing would lose it: /etc/fault-one.conf" in refused
    assert "undo_force=true" in refused
    assert (host.sh("cat /etc/fault.conf"), host.sh("cat /etc/fault-one.conf")) == ("3\n", "edited\n")
    shown = play_book(host, "-e", "undo=role:one", "-e", "undo_force=true", "--check", "--diff")
    assert "-edited" in shown
    assert "+2" in shown
    assert host.sh("cat /etc/fault.conf") == "3\n"
    play_book(host, "-e", "undo=role:one", "-e", "undo_force=true")
    assert host.sh("cat /etc/fault.conf; ls /etc") .startswith("2\n")
    assert "fault-one" not in host.sh("ls /etc")
    refused = play_book(host, "-e", "undo=role:one")
    assert "by the later change" in refused
    assert "changed=1" in play_book(host, "-e", "undo=all")
    assert not difference(host.manifest(), host.before)
    assert "changed=0" in play_book(host, "-e", "undo=all")
    assert "knows of role:nobody" in play_book(host, "-e", "undo=role:nobody")
    host.settled()
    assert host.reachable()
    host.clean = True


def test_pruning_by_count_and_age(host):
    said = Play(host, [{"rampart.hardening.confirmed_change": {
        "role": "prune", "keep": 2, "files": [{"path": "/etc/fault-count", "content": str(number)}]}}
        for number in range(4)]).end()  # fmt: skip
    assert "changed=4" in said
    assert len(host.journal()) == 2
    host.sh("cd /var/lib/rampart/changes && sed -i 's/\"when\": \"20/\"when\": \"19/' */change.json")
    Play(host, [{"rampart.hardening.confirmed_change": {
        "role": "prune", "keep_days": 30, "files": [{"path": "/etc/fault-count", "content": "x"}]}}]).end()  # fmt: skip
    assert len(host.journal()) == 1
    host.sh("rm -rf /etc/fault-count /var/lib/rampart/changes/*")
    host.before, host.clean = host.manifest(), True


def test_sensitive_contents_are_nowhere_to_be_read(host):
    secret, old = "squeamish-ossifrage", "older-secret"
    host.sh(f"echo {old} >/etc/fault.conf")
    host.before = host.manifest()
    wishes = change(files=[{"path": "/etc/fault.conf", "content": f"{secret}\n", "mode": "0640", "group": "games",
                            "sensitive": True, "validate": shell("cat %s")},
                           {"path": "/etc/fault-bad", "content": f"{secret}!\n", "sensitive": True}])  # fmt: skip
    refused = start(host, change(files=[wishes["files"][1] | {"validate": shell("cat %s; false")}])).end()
    assert "the file is sensitive" in refused
    said = [refused]
    for options in (("--check",), ()):
        play = start(host, wishes, "-vvv", "--diff", *options)
        said.append(play.end())
        assert play.code == 0
    said.append(Play(host, [{"rampart.hardening.undo": {"what": "all"}}], ("-vvv", "--diff", "--check")).end())
    said.append(Play(host, [{"rampart.hardening.journal": None}], ("-vvv",)).end())
    said.append(host.sh("journalctl --boot --all"))
    for text in said:
        assert secret not in text
        assert old not in text
    assert host.sh("cat /etc/fault.conf") == f"{secret}\n"
    undo(host)
    assert not difference(host.manifest(), host.before)
    assert_settled(host, "undoneconfirmed", host.before)


# --- no systemd -----------------------------------------------------------------------------------------------------


class Bare(Host):
    """A container whose first process is no systemd: an image that is being built, or another kind of init."""

    def __init__(self, name, init, place):
        self.init, self.place = init, place
        super().__init__(name, "bookworm")

    def create(self):
        lab("host", "down", self.name, check=False)
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
        run("podman", "run", "--detach", "--name", f"{PREFIX}-{self.name}", "--label", f"rampart.lab={PREFIX}",
            "--systemd=false", *limits, "--cap-add", "AUDIT_WRITE", "--network", PREFIX, "--ip", address(self.place),
            image_of("bookworm"), "sh", "-c",
            "mkdir -p /run/sshd; ssh-keygen -A; " + self.init)  # fmt: skip
        self.address = address(self.place)
        self.variables = {
            "ansible_host": self.address, "ansible_user": "automation", "ansible_become": True,
            "ansible_pipelining": True, "ansible_ssh_private_key_file": str(KEYS / "automation"),
            "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no",
        }  # fmt: skip
        self.sh(PREPARE, input=(KEYS / "automation.pub").read_text())
        until("sshd", self.reachable)
        self.before, self.entries, self.clean = self.manifest(), set(), True


RELOAD = shell("kill -HUP $(cat /run/sshd.pid)")
INIT = "printf '#!/bin/sh\\n/usr/sbin/sshd\\nwhile :; do sleep 1; done\\n' >/init; chmod +x /init; exec /init"


@small_hosts
def test_an_image_is_written_and_validated_and_nothing_activated():
    """sshd is the first process here: there is no init, so that nothing runs that could be activated."""
    host = HOSTS["image"] = Bare("fault-image", "exec /usr/sbin/sshd -D", 3)
    wishes = change(activate=[shell("touch /run/activated")], validate=[])
    bad = change(activate=[shell("touch /run/activated")])
    bad["files"][0]["content"] = "NoSuchKeyword yes\n"
    assert_old(host, start(host, bad), "Bad configuration option", UNTOUCHED, journal="")
    assert_new(host, start(host, wishes), wishes)
    assert not host.sh("ls /run/activated", check=False)


@small_hosts
def test_without_systemd_a_detached_process_takes_the_change_back():
    host = HOSTS["init"] = Bare("fault-init", INIT, 4)
    wishes, bad = change(activate=[RELOAD]), quick(activate=[RELOAD])
    bad["files"][0]["content"] = "DenyUsers automation\n"
    assert_old(host, start(host, bad), "not confirmed within 10 seconds", AS_BEFORE)
    host.entries = set(host.journal())
    assert_new(host, start(host, wishes), wishes)
    assert "maxauthtries 5" in host.sh("sshd -T")
