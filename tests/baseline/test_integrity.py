# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners, modes and rights of files as find(1) sees them on every local file system, and what dpkg says of them."""

from __future__ import annotations

import base64
import dataclasses
import fnmatch
import re
import shlex

import pytest

# The most that a file may have, who owns it, and the groups that it may have
SYSTEM_FILES = {
    "/etc/passwd": ("0644", "root", ["root"]),
    "/etc/passwd-": ("0644", "root", ["root"]),
    "/etc/group": ("0644", "root", ["root"]),
    "/etc/group-": ("0644", "root", ["root"]),
    "/etc/shadow": ("0640", "root", ["root", "shadow"]),
    "/etc/shadow-": ("0640", "root", ["root", "shadow"]),
    "/etc/gshadow": ("0640", "root", ["root", "shadow"]),
    "/etc/gshadow-": ("0640", "root", ["root", "shadow"]),
    "/etc/shells": ("0644", "root", ["root"]),
    "/etc/security/opasswd": ("0600", "root", ["root"]),
    "/etc/security/opasswd.old": ("0600", "root", ["root"]),
    "/etc/sudoers": ("0440", "root", ["root"]),
    "/etc/sudoers.d": ("0750", "root", ["root"]),
    "/boot/grub/grub.cfg": ("0600", "root", ["root"]),
    "/root": ("0700", "root", ["root"]),
    **dict.fromkeys(("/etc/motd", "/etc/issue", "/etc/issue.net", "/etc/sysctl.conf"), ("0644", "root", ["root"])),
    **{f"/etc/ssh/ssh_host_{kind}_key.pub": ("0644", "root", ["root"]) for kind in ("rsa", "ecdsa", "ed25519")},
    "/etc/sysctl.d": ("0755", "root", ["root"]),
    "/etc/nftables.conf": ("0700", "root", ["root"]),
    "/etc/nftables": ("0700", "root", ["root"]),
    "/etc/crypttab": ("0600", "root", ["root"]),
    "/etc/chrony/chrony.keys": ("0640", "root", ["root", "_chrony"]),
    "/var/log/audit": ("0750", "root", ["root", "adm"]),
    "/var/log/audit/audit.log": ("0640", "root", ["root", "adm"]),
    **dict.fromkeys(("/etc/audit", "/etc/audit/rules.d", "/etc/audit/plugins.d"), ("0750", "root", ["root"])),
    **{
        f"/etc/audit/{name}": ("0640", "root", ["root"])
        for name in ("auditd.conf", "audit.rules", "audit-stop.rules", "rules.d/audit.rules")
    },
    **{
        f"/usr/sbin/{name}": ("0755", "root", ["root"])
        for name in ("auditctl", "auditd", "augenrules", "aureport", "ausearch", "autrace")
    },
}
LOCAL = "ext2,ext3,ext4,xfs,btrfs,f2fs,jfs,reiserfs,nilfs2,zfs,bcachefs,tmpfs"
# Other systems' files, and what comes and goes with devices and sessions
ELSEWHERE = (
    *("/dev", "/proc", "/sys", "/run/user", "/run/containerd", "/run/docker", "/run/credentials", "/snap"),
    *("/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/var/lib/kubelet/pods", "/var/lib/rancher"),
    *("/var/lib/kubelet/plugins", "/var/lib/lxc", "/var/lib/lxd", "/var/lib/incus", "/var/lib/machines"),
    *("/var/lib/snapd/snap", "/var/snap", "/var/lib/flatpak", "/var/lib/rampart", "*/.local/share/containers"),
)
# Only what no account has an id for is asked of the name service, one by one
FIND = r"""
users=$(getent passwd | cut -d: -f3 | sort -u | sed 's/^/! -uid /')
groups=$(getent group | cut -d: -f3 | sort -u | sed 's/^/! -gid /')
{ echo /; findmnt --kernel --raw --noheadings --output TARGET --types @LOCAL@ --options rw; } | sort -u |
while read -r place; do
    place=$(printf %b "$place")
    [ -d "$place" ] || continue
    find "$place" -xdev \( @ELSEWHERE@ \) -prune -o \( -type f -o -type d \) \
        \( -perm /6002 -o $users -nouser -o $groups -nogroup \) -printf '%y\t%m\t%U\t%G\t%p\0'
    find "$place" -xdev \( @ELSEWHERE@ \) -prune -o -type f -perm /111 -print0 | python3 -c '
import os, sys
for path in filter(None, sys.stdin.buffer.read().split(b"\0")):
    try:
        os.getxattr(path, "security.capability")
    except OSError:
        continue
    sys.stdout.buffer.write(b"c\t0\t0\t0\t" + path + b"\0")'
done 2>/dev/null | base64 --wrap 0
"""
# Programs that Debian ships with such bits, and with capabilities, by what they are called
SET_UID = [
    "at",
    "auth_pam_tool",
    "chfn",
    "chsh",
    "crontab",
    "dbus-daemon-launch-helper",
    "dmcrypt-get-device",
    "doas",
    "exim4",
    "firejail",
    "fusermount",
    "fusermount3",
    "gpasswd",
    "helper",
    "lxc-user-nic",
    "mount",
    "mount.cifs",
    "mount.davfs",
    "mount.ecryptfs_private",
    "mount.nfs",
    "newgidmap",
    "newgrp",
    "newuidmap",
    "ntfs-3g",
    "pam-tmpdir-helper",
    "passwd",
    "pkexec",
    "polkit-agent-helper-1",
    "pppd",
    "procmail",
    "qemu-bridge-helper",
    "sensible-mda",
    "snap-confine",
    "spice-client-glib-usb-acl-helper",
    "ssh-keysign",
    "su",
    "sudo",
    "suexec-custom",
    "suexec-pristine",
    "umount",
    "vmware-user-suid-wrapper",
    "Xorg.wrap",
    "dma-mbox-create",
]
SET_GID = [
    "at",
    "bsd-write",
    "camel-lock-helper-1.2",
    "chage",
    "crontab",
    "dma",
    "dotlockfile",
    "expiry",
    "lockfile",
    "mlocate",
    "pam_extrausers_chkpwd",
    "plocate",
    "postdrop",
    "postqueue",
    "procmail",
    "screen",
    "sendmail",
    "ssh-agent",
    "unix_chkpwd",
    "utempter",
    "wall",
    "write.ul",
    "Xorg.wrap",
]
CAPABLE = [
    "arping",
    "clockdiff",
    "dumpcap",
    "fping",
    "gst-ptp-helper",
    "mtr-packet",
    "ping",
    "pinger",
    "traceroute6.iputils",
]
DYNAMIC = range(61184, 65520)  # services that run under a number of their own


@dataclasses.dataclass(frozen=True)
class Found:
    """What find has to say of one file or directory; `kind` c is a program with capabilities."""

    kind: str
    mode: int
    uid: int
    gid: int
    path: str

    def __str__(self):
        path = self.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return f"{'capabilities' if self.kind == 'c' else format(self.mode, '04o')} {self.uid}:{self.gid} {path!r}"


@pytest.fixture(scope="module")
def found(host, policy):
    """Everything that may be a finding on this host."""
    prune = [*ELSEWHERE, *policy.get("integrity_skip", [])]
    elsewhere = " -o ".join(f"-path {shlex.quote(place)}" for place in prune)
    said = host.check_output(FIND.replace("@ELSEWHERE@", elsewhere).replace("@LOCAL@", LOCAL))
    records = base64.b64decode(said).decode("utf-8", "surrogateescape").split("\0")
    seen = {}
    for record in filter(None, records):
        kind, mode, uid, gid, path = record.split("\t", 4)
        seen[kind == "c", path] = Found(kind, int(mode, 8), int(uid), int(gid), path)
    return list(seen.values())


def less(found, patterns):
    return [one for one in found if not any(fnmatch.fnmatchcase(one.path, pattern) for pattern in patterns)]


def names(found):
    more = [f"and {len(found) - 20} more"] if len(found) > 20 else []
    return "\n".join([*(str(one) for one in found[:20]), *more])


@pytest.mark.control("integrity.system_files")
def test_system_files(host, policy, evidence):
    wanted = dict(SYSTEM_FILES)
    for one in policy.get("integrity_system_files", []):
        wanted[one["path"]] = (one["mode"], one.get("owner", "root"), one.get("group", ["root"]))
    said = host.run(f"stat --dereference --format '%a %U %G %n' {shlex.join(wanted)} 2>/dev/null").stdout
    evidence(said)
    wrong = []
    for line in said.splitlines():
        mode, owner, group, path = line.split(" ", 3)
        most, wanted_owner, groups = wanted[path]
        if int(mode, 8) & ~int(most, 8) or owner != wanted_owner or group not in groups:
            wrong.append(f"{line}, and not {most} {wanted_owner} {'|'.join(groups)}")
    assert "/etc/passwd" in said, "stat saw nothing"
    assert not wrong, "\n".join(wrong)


@pytest.mark.control("integrity.world_writable")
def test_world_writable(found, policy, evidence):
    bad = [one for one in found if one.kind == "f" and one.mode & 0o002]
    bad = less(bad, policy.get("integrity_world_writable_allowed", []))
    evidence(f"{len(bad)} files that anybody may write to\n{names(bad)}")
    assert not bad, f"anybody may write to\n{names(bad)}"


@pytest.mark.control("integrity.sticky_bit")
def test_sticky_bit(found, policy, evidence):
    bad = [one for one in found if one.kind == "d" and one.mode & 0o1002 == 0o002]
    bad = less(bad, policy.get("integrity_world_writable_allowed", []))
    evidence(f"{len(bad)} directories in which anybody may remove what is another's\n{names(bad)}")
    assert not bad, f"anybody may write, and there is no sticky bit\n{names(bad)}"


@pytest.mark.control("integrity.unowned")
def test_unowned(host, found, policy, evidence):
    def known(database, delegated):
        numbers = {int(line.split(":")[2]) for line in host.check_output(f"getent {database}").splitlines()}
        ranges = re.findall(r"(?m)^[^:]+:(\d+):(\d+)$", host.run(f"cat {delegated}").stdout)
        spans = [DYNAMIC, *(range(int(start), int(start) + int(size)) for start, size in ranges)]
        return lambda number: number in numbers or any(number in span for span in spans)

    user, group = known("passwd", "/etc/subuid"), known("group", "/etc/subgid")
    bad = [one for one in found if one.kind != "c" and not (user(one.uid) and group(one.gid))]
    bad = [one for one in bad if host.run(f"getent passwd {one.uid} && getent group {one.gid}").rc]
    bad = less(bad, policy.get("integrity_unowned_allowed", []))
    evidence(f"{len(bad)} files and directories without an owner or a group\n{names(bad)}")
    assert not bad, f"the owner or the group does not exist\n{names(bad)}"


@pytest.mark.control("integrity.setuid")
def test_setuid(host, found, policy, evidence):
    programs = [one for one in found if one.kind == "c" or (one.kind == "f" and one.mode & 0o6000)]
    bad = []
    for one in less(programs, policy.get("integrity_setuid_allowed", [])):
        own = [one.path, re.sub(r"^/usr(?=/(s?bin|lib\w*)/)", "", one.path)]
        declared = host.run("dpkg-statoverride --list " + " ".join(shlex.quote(name) for name in own)).stdout.split()
        if one.kind == "f" and len(declared) >= 3 and not one.mode & 0o6000 & ~int(declared[2], 8):
            continue
        package = any(host.run(f"dpkg --search {shlex.quote(name)}").rc == 0 for name in own)
        name = one.path.rpartition("/")[2]
        usual = name in CAPABLE if one.kind == "c" else (
            (not one.mode & 0o4000 or name in SET_UID) and (not one.mode & 0o2000 or name in SET_GID))  # fmt: skip
        if not (package and usual):
            bad.append(one)
    evidence(f"{len(programs)} programs with rights of their own, {len(bad)} unknown\n{names(bad or programs)}")
    assert not bad, f"neither known nor allowed\n{names(bad)}"


@pytest.mark.control("integrity.setuid_removed")
def test_setuid_removed(host, policy, evidence, not_applicable):
    programs = policy.get("integrity_setuid_removed", [])
    present = [path for path in programs if host.run(f"test -f {shlex.quote(path)}").rc == 0]
    if not present:
        not_applicable("integrity_setuid_removed names no program of this host")
    wrong = []
    for path in present:
        mode = host.check_output(f"stat --format %a {shlex.quote(path)}")
        kept = host.run(
            "dpkg-statoverride --list " + " ".join(shlex.quote(p) for p in (path, path.removeprefix("/usr")))
        )
        evidence(f"{mode} {path}; dpkg keeps: {kept.stdout.strip() or 'nothing'}")
        owned = host.run(f"dpkg --search {shlex.quote(path)} {shlex.quote(path.removeprefix('/usr'))}").stdout
        if int(mode, 8) & 0o6000:
            wrong.append(f"{path} has mode {mode}")
        elif owned and not kept.stdout.strip():
            wrong.append(f"the next upgrade gives {path} its bits back")
    assert not wrong, "; ".join(wrong)
