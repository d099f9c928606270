# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel has every rule of the files given, or is locked until the next boot."""

import pwd
import re
import subprocess
import sys


def number(name):
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return name


def essence(line):
    """A rule, however it is spelled: the order of its parts and of its syscalls means nothing to this comparison."""
    words = line.replace("-k ", "-F key=").replace("!=unset", "!=-1").replace("!=4294967295", "!=-1").split()
    pairs = [tuple(words[at : at + 2]) for at in range(0, len(words), 2)]
    found = set()  # the kernel knows numbers, and tells no name
    pairs = [(flag, re.sub("^uid=([a-z_].*)", lambda name: f"uid={number(name[1])}", value)) for flag, value in pairs]
    for flag, value in pairs:
        if flag == "-S":
            found |= {(flag, name) for name in value.split(",")}
        else:
            found.add((flag, value.rstrip("/") if flag == "-w" else value))
    # without a syscall, and with all of them, is the same
    return frozenset(found - {("-S", "all")})


def told(*argv):
    return subprocess.run(["auditctl", *argv], capture_output=True, text=True, check=True).stdout


if not re.search(r"(?m)^enabled 2$", told("-s")):
    live = {essence(line) for line in told("-l").splitlines()}
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as handle:
            lost = [line for line in handle if line[:3] in ("-a ", "-w ") and essence(line) not in live]
        if lost:
            sys.exit(f"the kernel lacks {len(lost)} rules, as {lost[0].strip()}")
