# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk on small trees: what it finds, where it does not go, how it ends, and what is made of it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
import subprocess
import time

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import integrity, transaction

SETTINGS = {"world_writable_allowed": [], "unowned_allowed": [], "skip": [], "report": 100, "time_limit": 60}


@pytest.fixture
def tree(tmp_path):
    """One of each."""
    for name, mode in {"open": 0o777, "sticky": 0o1777, "deep/er/est": 0o755, "skipped/x": 0o777}.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name).chmod(mode)
    for name, mode in {"ww": 0o666, "deep/er/ww": 0o602, "fine": 0o644, "tool": 0o4755, "skipped/ww": 0o666}.items():
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").chmod(0o666)
    return tmp_path


def walked(tree, **settings):
    found, counts = integrity.scan([str(tree)], {str(tree / "skipped")}, {**SETTINGS, **settings})
    return {what: sorted(os.path.relpath(item[0] if isinstance(item, (list, tuple)) else item, tree) for item in items)
            for what, items in found.items()}, counts  # fmt: skip


def test_one_walk_finds_each_kind(tree):
    found, counts = walked(tree)
    assert found["writable"] == ["deep/er/ww", "ww"]
    assert found["sticky"] == ["open"]
    assert found["setid"] == ["tool"]
    assert found["unowned"] == []
    assert counts == {"files": 6, "directories": 6, "unowned": 0, "unreadable": 0}


def test_what_is_allowed_is_not_found(tree):
    found, __ = walked(tree, world_writable_allowed=[f"{tree}/d*", f"{tree}/open"])
    assert found["writable"] == ["ww"]
    assert found["sticky"] == []


def test_several_processes_find_the_same(tree, monkeypatch):
    for number in range(40):
        (tree / f"many/{number}/below").mkdir(parents=True)
        (tree / f"many/{number}/below/ww").write_text("")
        (tree / f"many/{number}/below/ww").chmod(0o666)
    alone = walked(tree)
    monkeypatch.setattr(integrity, "SPLIT_AFTER", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert walked(tree) == alone


def test_names_of_whatever_bytes(tree):
    odd = os.fsencode(tree) + b"/\xff\n"
    os.close(os.open(odd, os.O_CREAT, 0o666))
    subprocess.run(["chmod", "666", odd], check=True)
    found = integrity.walk_host({**SETTINGS, "skip": everything_but(tree)})
    assert os.fsdecode(odd) in [item[0] for item in found["writable"]]


def everything_but(tree):
    """What to skip so that little more than `tree` is walked."""
    way, places = "/", []
    for part in str(tree).strip("/").split("/"):
        places += [os.path.join(way, name) for name in os.listdir(way) if name != part]
        way = os.path.join(way, part)
    return places


def test_a_walk_without_end_is_ended(tree, monkeypatch):
    def hang(self, path, todo):
        time.sleep(60)

    monkeypatch.setattr(integrity.Walk, "visit", hang)
    began = time.monotonic()
    with pytest.raises(integrity.WalkError, match="not done within 1 s.*nothing was changed.*integrity_time_limit"):
        integrity.walk_host({**SETTINGS, "time_limit": 1})
    assert time.monotonic() - began < 30


def test_a_walk_that_fails_says_so(monkeypatch):
    monkeypatch.setattr(integrity.Walk, "visit", lambda self, path, todo: 1 / 0)
    with pytest.raises(integrity.WalkError, match="ZeroDivisionError"):
        integrity.walk_host(SETTINGS)


def test_what_nobody_owns_is_counted_and_named_in_part(tree, monkeypatch):
    monkeypatch.setattr(integrity.Known, "__contains__", lambda self, number: False)
    found, counts = walked(tree, report=3, unowned_allowed=[f"{tree}/fine"])
    assert len(found["unowned"]) == 3
    assert counts["unowned"] == 10


def test_ids_of_containers_and_of_dynamic_users_belong_to_somebody(tmp_path):
    ranges = tmp_path / "subuid"
    ranges.write_text("alice:100000:65536\nbroken\nalso:x:y\n")

    def nobody(number):
        raise KeyError(number)

    known = integrity.Known(nobody, str(ranges))
    assert 100000 in known
    assert 165535 in known
    assert 61184 in known
    assert 165536 not in known
    assert 4242 not in known


MOUNTINFO = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
23 21 8:2 / /home rw - xfs /dev/sdb rw
24 21 8:1 /srv/data /mnt rw - ext4 /dev/sda1 rw
25 21 0:40 / /media/with\040space rw - tmpfs tmpfs rw
26 21 0:41 / /net/files rw - nfs4 server:/x rw
27 21 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
28 21 0:42 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
29 21 8:3 / /iso ro - ext4 /dev/sdc ro
30 21 0:43 / /auto rw - autofs systemd-1 rw
31 21 8:4 /volume /data rw - ext4 /dev/sdd rw
"""


def test_local_file_systems_are_walked_once_each():
    found = integrity.mounts(MOUNTINFO)
    assert integrity.roots(found, integrity.SKIP) == ["/", "/data", "/home", "/media/with space"]


def test_a_container_s_root_is_walked_and_a_diskless_host_s_is_not():
    assert integrity.roots(integrity.mounts("1 0 0:9 / / rw - overlay overlay rw"), ()) == ["/"]
    assert integrity.roots(integrity.mounts("1 0 0:9 / / rw - nfs server:/root rw"), ()) == []


def test_packages_know_their_files_by_old_names_and_through_diversions(tmp_path, monkeypatch):
    (tmp_path / "mount.list").write_text("/.\n/bin\n/bin/mount\n")
    (tmp_path / "tool:amd64.list").write_text("/usr/sbin/tool\n")
    (tmp_path / "diversions").write_text("/usr/sbin/tool\n/usr/sbin/tool.real\nother\n")
    monkeypatch.setattr(integrity, "INFO", str(tmp_path))
    monkeypatch.setattr(integrity, "DIVERSIONS", str(tmp_path / "diversions"))
    monkeypatch.setattr(integrity, "names", lambda path: [path, path.removeprefix("/usr")])
    assert integrity.packages(["/usr/bin/mount", "/usr/sbin/tool.real", "/usr/bin/none"]) == {
        "/usr/bin/mount": ("mount", "/bin/mount"),
        "/usr/sbin/tool.real": ("tool", "/usr/sbin/tool"),
    }


def test_the_names_of_capabilities():
    version2 = struct.pack("<5I", 0x02000001, 1 << 13 | 1 << 23, 0, 1 << (39 - 32), 0)
    assert integrity.capability_names(version2) == ["cap_net_raw", "cap_sys_nice", "cap_bpf"]
    assert integrity.capability_names(b"") == []


def judged(monkeypatch, found, known=None, allowed=(), owners=None, declared=None):
    monkeypatch.setattr(integrity, "packages", lambda paths: owners or {})
    monkeypatch.setattr(integrity, "overrides", lambda: declared or {})
    found = {"setid": [], "capable": [], **found}
    return {one["path"]: one["why"] for one in integrity.judge_setid(found, known or {}, allowed)}


@pytest.mark.parametrize(
    ("mode", "owners", "more", "fine"),
    [
        (0o4755, {"/usr/bin/su": ("su", "/bin/su")}, {}, True),
        (0o6755, {"/usr/bin/su": ("su", "/bin/su")}, {}, False),  # a bit that the package does not bring
        (0o4755, {}, {}, False),  # in the package's place, and not of it
        (0o4755, {}, {"declared": {"/usr/bin/su": ("root", "root", 0o4755)}}, True),
        (0o4755, {}, {"allowed": ["/usr/b*"]}, True),
    ],
)
def test_which_programs_are_known(monkeypatch, mode, owners, more, fine):
    found = {"setid": [("/usr/bin/su", mode, 0, 0)]}
    said = judged(monkeypatch, found, {"/usr/bin/su": "4000"}, owners=owners, **more)
    assert (said == {}) is fine, said


def test_a_package_s_program_with_bits_that_it_never_had_is_told(monkeypatch):
    said = judged(monkeypatch, {"setid": [("/usr/bin/find", 0o4755, 0, 0)]},
                  owners={"/usr/bin/find": ("findutils", "/usr/bin/find")})  # fmt: skip
    assert said == {"/usr/bin/find": "of package findutils, which is not known to grant that"}


def test_capabilities_are_judged_one_by_one(monkeypatch):
    raw, root = (struct.pack("<5I", 0x02000001, 1 << bit, 0, 0, 0).hex() for bit in (13, 7))
    owners = {path: ("iputils", path) for path in ("/usr/bin/ping", "/usr/bin/arping", "/usr/lib/x86_64-linux-gnu/p")}
    known = {"/usr/bin/ping": ["cap_net_raw"], "/usr/bin/arping": ["cap_net_raw"], "/usr/lib/*/p": ["cap_net_raw"]}
    found = [("/usr/bin/ping", raw), ("/usr/bin/arping", root), ("/usr/lib/x86_64-linux-gnu/p", raw), ("/x", raw)]
    assert sorted(judged(monkeypatch, {"capable": found}, known, owners=owners)) == ["/usr/bin/arping", "/x"]


def test_what_is_new_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(integrity, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(integrity, "SEEN", str(tmp_path / "state/seen.json"))

    def seen(now, write=True, *paths):
        strange = [{"path": path} for path in paths]
        found = {"setid": [(path, 0, 0, 0) for path in paths], "capable": []}
        return (*integrity.remember(strange, found, now, write), {item["path"]: item["since"] for item in strange})

    assert seen("2026-01-01", False, "/a") == ("2026-01-01", [], {"/a": "2026-01-01"})
    assert not (tmp_path / "state").exists()
    seen("2026-02-01", True, "/a")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert seen("2026-03-01", True, "/a", "/b") == ("2026-02-01", ["/b"], {"/a": "2026-02-01", "/b": "2026-03-01"})
    assert seen("2026-04-01", True, "/a", "/b")[1:] == (["/b"], {"/a": "2026-02-01", "/b": "2026-03-01"})
    (tmp_path / "state/seen.json").write_text("[]")
    assert seen("2026-05-01", True, "/a")[0] == "2026-05-01"


def test_a_mode_is_never_loosened_and_one_file_is_changed_once(tmp_path):
    for name, mode in {"strict": 0o400, "loose": 0o666}.items():
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    os.link(tmp_path / "loose", tmp_path / "twin")
    plan = integrity.Plan()
    mine = {"owner": pwd.getpwuid(os.getuid())[0], "group": [grp.getgrgid(os.getgid())[0]], "mode": "0640"}
    integrity.system_files(plan, [{"path": str(tmp_path / name), **mine} for name in ("strict", "absent")])
    assert plan.entries == {}
    for name in ("loose", "twin"):
        plan.change(str(tmp_path / name), lambda state: {**state, "mode": state["mode"] & ~0o002})
    assert {path: entry["after"]["mode"] for path, entry in plan.entries.items()} == {str(tmp_path / "loose"): 0o664}


def test_a_link_put_in_the_place_of_a_directory_leads_nowhere(tmp_path, monkeypatch):
    """What the walk found in a person's directory is gone when it is to be changed, and a link leads to ours."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for place in (ours, theirs):
        place.mkdir()
        (place / "file").write_text("")
        (place / "file").chmod(0o666)
    plan = integrity.Plan()
    assert plan.change(f"{theirs}/file", lambda state: {**state, "mode": 0o664})
    theirs.rename(tmp_path / "away")
    theirs.symlink_to(ours)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)  # so that this link is of somebody who is neither we nor root
    lchown_if_root(theirs)
    for entry in plan.entries.values():
        transaction.apply_rights(entry)
        assert entry["left"] is True
    assert stat.S_IMODE((ours / "file").stat().st_mode) == 0o666
    assert integrity.Plan().change(f"{theirs}/file", lambda state: {**state, "mode": 0o600}) is False


def lchown_if_root(path):
    if os.getuid() == 0:
        os.lchown(path, 1000, 1000)
