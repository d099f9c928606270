# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the login_policy role has to know of a host: its rules for passwords and sessions. Reads only; no hash."""

from __future__ import annotations

import glob
import os
import re
import stat
import time

from ansible_collections.rampart.hardening.plugins.module_utils.survey_kernel import read
from ansible_collections.rampart.hardening.plugins.module_utils.survey_mfa import WHERE

# Files of which a part is ours: there is no directory for drop-ins
SHARED = (
    "/etc/login.defs",
    "/etc/default/useradd",
    "/etc/security/pwquality.conf",
    "/etc/security/faillock.conf",
    "/etc/pam.d/su",
    "/etc/shells",
    "/etc/issue",
    "/etc/issue.net",
    "/etc/motd",
)
STRONG = ("$y$", "$gy$", "$7$", "$6$", "$5$", "$2a$", "$2b$", "$2y$")
OURS = "/usr/share/pam-configs/rampart-login"
NO_SHELL = ("", "/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync")
PEOPLE = range(1000, 60000)
# Files in a home that let others in or hold passwords: {name: the most that it may have; None: it should not be there}
DOTS = {".netrc": 0o700, ".forward": 0o755, ".rhosts": None, ".shosts": None}


def text(path):
    """The text of a file as it is, and its mode; None where it is no plain file."""
    try:
        info = os.lstat(path)
        if not stat.S_ISREG(info.st_mode):
            return None
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            return {"text": handle.read(), "mode": f"{stat.S_IMODE(info.st_mode):04o}"}
    except OSError:
        return None


def number(field):
    """A field of /etc/shadow as a number; None where it is empty."""
    return int(field) if field.lstrip("-").isdigit() else None


def passwords():
    """Accounts that have a usable password: [{name, age: days, min, max, warn, inactive, strong: its hash}]."""
    today, found = int(time.time() // 86400), []
    for line in (read("/etc/shadow") or "").splitlines():
        fields = line.split(":")
        if len(fields) < 8 or not fields[1] or fields[1][0] in "!*x":
            continue
        changed = number(fields[2])
        found.append(
            {
                "name": fields[0],
                "age": None if changed is None else today - changed,
                "min": number(fields[3]),
                "max": number(fields[4]),
                "warn": number(fields[5]),
                "inactive": number(fields[6]),
                "strong": fields[1].startswith(STRONG),
            }
        )
    return found


def dots(home, uid):
    """What is wrong with the DOTS of a home, in words."""
    found = []
    for name, most in DOTS.items():
        path = os.path.join(home, name)
        try:
            info = os.lstat(path)
        except OSError:
            continue
        if most is None:
            found.append(f"{path} lets other hosts in")
        elif info.st_uid not in (0, uid):
            found.append(f"{path} belongs to somebody else")
        elif not stat.S_ISLNK(info.st_mode) and stat.S_IMODE(info.st_mode) & ~most:
            found.append(f"{path} is open to others ({stat.S_IMODE(info.st_mode):04o})")
    return found


def accounts():
    """Homes and shells.

    {homes: [{name, path, mode, uid, gid, public}] of people, strangers: [what is wrong with whose they are],
    dots: [what is wrong in them, and in root's], shells: [{name, shell}] of the system's accounts}
    """
    homes, shells, strangers, wrong = [], [], [], []
    for line in (read("/etc/passwd") or "").splitlines():
        fields = line.split(":")
        if len(fields) != 7 or not fields[2].isdigit():
            continue
        name, uid, home, shell = fields[0], int(fields[2]), fields[5], fields[6]
        if uid in PEOPLE or name == "root":
            wrong += dots(home, uid)
        if uid not in PEOPLE:
            if uid and shell not in NO_SHELL:
                shells.append({"name": name, "shell": shell})
            continue
        try:
            info = os.lstat(home)
        except OSError:
            continue
        if info.st_uid not in (0, uid):
            strangers.append(f"{home} is the home of {name} and belongs to uid {info.st_uid}")
        if stat.S_ISDIR(info.st_mode) and info.st_uid == uid and home.count("/") > 1:
            homes.append(
                {
                    "name": name,
                    "path": os.path.normpath(home),
                    "mode": stat.S_IMODE(info.st_mode),
                    "uid": uid,
                    "gid": info.st_gid,
                    "public": os.path.isdir(home + "/public_html"),
                }
            )
    return {"homes": homes, "strangers": strangers, "dots": wrong, "shells": shells}


def counted():
    """The lines of the site's own that count failed passwords: [{file, line}]."""
    found = []
    for path in sorted(glob.glob("/etc/pam.d/*")):
        for index, line in enumerate((read(path) or "").splitlines(), 1):
            if not path.startswith("/etc/pam.d/rampart-") and re.match(
                r"\s*-?auth\s.*\bpam_(faillock|tally2?)\.so", line
            ):
                found.append({"file": path, "line": index})
    return found


def sessions(module, paths):
    """Those of the PAM files `paths` whose sessions go through `module`."""
    return [path for path in paths if re.search(rf"(?m)^\s*-?session\s.*\b{module}\.so", read(path) or "")]


def apart():
    """The PAM files with which the site gives sessions a /tmp of their own."""
    every = sorted(glob.glob("/etc/pam.d/*"))
    lists = ["/etc/security/namespace.conf", *sorted(glob.glob("/etc/security/namespace.d/*.conf"))]
    shared = not any(re.search(r"(?m)^\s*/tmp/?\s", read(path) or "") for path in lists)
    return sessions("pam_mktemp", every) + ([] if shared else sessions("pam_namespace", every))


def tmpdir():
    """Whether the site itself has pam_tmpdir in all sessions."""
    common = ["/etc/pam.d/common-session", "/etc/pam.d/common-session-noninteractive"]
    return sessions("pam_tmpdir", common) == common and "pam_tmpdir" not in (read(OURS) or "")


def collect():
    """The survey's `login`.

    Returns::

        files: {path: {text, mode}} of SHARED that are there
        passwords, homes, strangers, dots, shells: see the functions above
        counted: [{file, line}] where failed passwords are counted
        apart, tmpdir: see the functions above
        modules: {pwquality, dictionary, tmpdir: whether installed}
        yescrypt: whether common-password hashes with yescrypt
        remember: whether pam_unix remembers passwords there
        ours: [path] of the profiles that we made
    """
    common = read("/etc/pam.d/common-password") or ""
    return dict(
        accounts(),
        files={path: found for path in SHARED for found in [text(path)] if found},
        passwords=passwords(),
        counted=counted(),
        apart=apart(),
        tmpdir=tmpdir(),
        ours=sorted(glob.glob(OURS + "*")),
        modules={
            "pwquality": any(glob.glob(f"{place}/pam_pwquality.so") for place in WHERE),
            "tmpdir": any(glob.glob(f"{place}/pam_tmpdir.so") for place in WHERE),
            "dictionary": bool(glob.glob("/var/cache/cracklib/cracklib_dict.pwd")),
        },
        remember=bool(re.search(r"(?m)^password\s.*pam_unix\.so.*\bremember=", common)),
        yescrypt=bool(re.search(r"(?m)^password\s.*pam_unix\.so.*\byescrypt\b", common)),
    )
