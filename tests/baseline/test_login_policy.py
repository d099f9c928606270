# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords and sessions as PAM and shells have them: real conversations with PAM, as `nobody`."""

from __future__ import annotations

import pathlib
import re
import secrets
import shlex

import pytest

GUESS = pathlib.Path(__file__).with_name("guess.py").read_text(encoding="utf-8")
WORDS = ("password", "Summer2026", "abcdefghijklmnop", "aaaaaaaaaaaaaaaa", "short1!")
TELLING = re.compile(r"\\[mnorsvSl4]|\bDebian GNU/Linux \d|\bUbuntu \d")
NO_SHELL = ("/nologin", "/false", "/sync", "")
STRONG = ("$y$", "$gy$", "$7$", "$6$", "$5$", "$2a$", "$2b$", "$2y$")
LEFT = ("root", "halt", "shutdown")


def passwords(host):
    """Accounts with a usable password, and their fields of /etc/shadow; of the hash only the kind."""
    found = {}
    for line in host.check_output("cat /etc/shadow").splitlines():
        name, hashed, *rest = line.split(":")
        if hashed and hashed[0] not in "!*":
            found[name] = [hashed[:4], *rest]
    return found


@pytest.mark.control("login_policy.password_quality")
def test_password_quality(host, policy, evidence):
    longest = int(policy.get("login_policy_password_length") or 14)
    good = secrets.token_urlsafe(longest) + "-aB7"
    said = {}
    for word in (*WORDS, good[5 - longest :], good):
        tried = host.run(f"python3 -I - password {word} <<'PROGRAM'\n{GUESS}\nPROGRAM")
        said[word if word in WORDS else f"{len(word)} random characters"] = tried.stdout.strip()
        assert tried.rc in (0, 1), f"PAM cannot be asked: {tried.stderr}"
        assert (tried.rc == 0) == (word == good), f"{word if word in WORDS else len(word)}: {tried.stdout}"
        assert word == good or "etype" not in tried.stdout, f"root may take it all the same: {tried.stdout}"
    evidence(said)


@pytest.mark.control("login_policy.lockout")
def test_lockout(host, policy, evidence):
    tries = int(policy.get("login_policy_lockout_tries") or 5)
    tried = host.run(f"python3 -I - guess {tries} <<'PROGRAM'\n{GUESS}\nPROGRAM")
    evidence(tried.stdout)
    assert tried.rc == 0, tried.stdout.strip() or tried.stderr


@pytest.mark.control("login_policy.history")
def test_history(host, evidence):
    shown = host.run("grep -hE '^password.*pam_pwhistory' /etc/pam.d/common-password").stdout
    evidence(shown)
    found = re.search(r"remember=(\d+)", shown)
    assert found and int(found[1]) >= 5, "old passwords are not remembered"
    assert shown.split()[1] in ("required", "requisite"), "and what remembers them is not obeyed"
    twice = host.run("grep -hE '^password.*pam_unix.*remember=' /etc/pam.d/common-password").stdout
    assert not twice, f"pam_unix remembers them too, in a way of its own: {twice}"


@pytest.mark.control("login_policy.hashing")
def test_hashing(host, evidence):
    line = host.run("grep -hE '^password.*pam_unix' /etc/pam.d/common-password").stdout
    method = host.run("grep -E '^ *(ENCRYPT_METHOD|SHA_CRYPT_M.._ROUNDS)' /etc/login.defs").stdout
    weak = sorted(name for name, fields in passwords(host).items() if not fields[0].startswith(STRONG))
    evidence({"common-password": line, "login.defs": method, "weak hashes": weak})
    assert "yescrypt" in line, "new passwords are not hashed with yescrypt"
    assert "YESCRYPT" in method.upper(), "chpasswd and useradd do not hash with yescrypt"
    rounds = [int(word) for word in re.findall(r"SHA_CRYPT_MIN_ROUNDS\s+(\d+)", method)]
    assert rounds and rounds[-1] >= 65536, "tools that are told to take SHA hash with few rounds"
    assert not weak, f"hashed weakly: {', '.join(weak)}"


@pytest.mark.control("login_policy.ageing")
def test_ageing(host, policy, evidence):
    most = int(policy.get("login_policy_password_max_days") or 365)
    exempt = policy.get("login_policy_ageing_exempt")
    if exempt is None:
        exempt = [one.get("name") for one in (*policy.get("hardening_mfa_exempt", []),
                  policy.get("hardening_automation", {}), policy.get("hardening_break_glass", {}))]  # fmt: skip
    root = host.check_output("awk -F: '$3 == 0 { print $1 }' /etc/passwd").split()
    ages = {name: fields[3] for name, fields in passwords(host).items() if name not in [*exempt, *root]}
    new = host.run("grep -E '^ *PASS_MAX_DAYS' /etc/login.defs").stdout.split()
    evidence({"most days": ages, "of new accounts": new})
    old = sorted(name for name, days in ages.items() if not days or not 0 <= int(days) <= most)
    assert not old, f"passwords that do not age: {', '.join(old)}"
    assert new and 0 < int(new[1]) <= most, "passwords of new accounts do not age"
    # whoever showed a key is let in, however old the password is: the module that judges comes without its age first
    account = host.check_output("grep -E '^account' /etc/pam.d/common-account").splitlines()
    first = next(line for line in account if "pam_unix" in line)
    assert "no_pass_expiry" in first, "an old password would shut out people who log in with a key"


@pytest.mark.control("login_policy.umask")
def test_umask(host, policy, evidence):
    people = [admin["name"] for admin in policy.get("hardening_admins", []) if admin.get("state") != "absent"]
    seen = {}
    for name in ("root", *people):
        if host.run(f"getent passwd {name}").rc == 0:
            seen[name] = host.run(f"su -s /bin/sh - {name} -c umask </dev/null").stdout.strip().splitlines()[-1:]
    evidence(seen)
    open_to_others = [name for name, mask in seen.items() if not mask or int(mask[0], 8) & 0o007 != 0o007]
    assert not open_to_others, f"new files of {', '.join(open_to_others)} are for everybody"


@pytest.mark.control("login_policy.private_tmp")
def test_private_tmp(host, policy, evidence):
    people = [admin["name"] for admin in policy.get("hardening_admins", []) if admin.get("state") != "absent"]
    sessions = {name: f"su -s /bin/sh - {name} -c" for name in ("root", "nobody", *people)}
    sessions["nobody by sudo"] = "sudo -n -u nobody sh -c"
    look = 'file=$(mktemp) && echo "$file ${TMPDIR:--} $(stat -c "%U %a" "${TMPDIR:-/tmp}")"'
    seen, wrong = {}, []
    for name, opened in sessions.items():
        if host.run(f"getent passwd {name.split()[0]} && command -v {opened.split()[0]}").rc:
            continue
        said = host.run(f"{opened} {shlex.quote(look)} </dev/null").stdout.strip().splitlines()[-1:]
        seen[name] = said[0] if said else "no temporary file can be made"
        file, place, owner, mode = said[0].split() if said else ("/", "-", "", "")
        # as an account that has nothing to do with it; where each has a /tmp of its own there is no such file for it
        found = host.run(f"setpriv --reuid 65533 --regid 65533 --clear-groups stat {shlex.quote(file)}").rc == 0
        host.run(f"{opened} {shlex.quote('rm ' + shlex.quote(file))} </dev/null")
        if found or (place != "-" and (owner, mode) != (name.split()[0], "700")):
            wrong.append(f"{name} ({seen[name]})")
    evidence(seen)
    assert seen, "no session can be opened"
    assert not wrong, f"others get at the temporary files of {', '.join(wrong)}"


@pytest.mark.control("login_policy.timeout")
def test_timeout(host, policy, evidence):
    most = int(policy.get("login_policy_shell_timeout") or 900)
    seen = host.run(
        "env -i HOME=/ PATH=$PATH bash -lc 'echo $TMOUT; unset TMOUT; TMOUT=0; echo $TMOUT' 2>/dev/null"
    ).stdout
    evidence(seen)
    words = seen.split()
    assert words and words[0].isdigit() and 0 < int(words[0]) <= most, "an idle shell does not end"
    assert words[-1] != "0", "and people may change that"


@pytest.mark.control("login_policy.banners")
def test_banners(host, evidence):
    texts = {path: host.run(f"cat {path}").stdout for path in ("/etc/issue", "/etc/issue.net", "/etc/motd")}
    evidence(texts)
    telling = [path for path, text in texts.items() if TELLING.search(text)]
    assert not telling, f"tells the system's version: {', '.join(telling)}"
    assert texts["/etc/issue"].strip(), "/etc/issue says nothing before a login"


@pytest.mark.control("login_policy.su")
def test_su(host, evidence):
    tried = host.run(
        "timeout 15 setpriv --reuid 65534 --regid 65534 --clear-groups "
        "script -qec 'su -s /bin/sh root -c id' /dev/null </dev/null"
    )
    said = (tried.stdout + tried.stderr).strip()
    evidence(said)
    assert "uid=0" not in said, "nobody became root"
    assert not re.search(r"(?i)password|code|passcode", said), f"nobody is asked, and may guess: {said}"


@pytest.mark.control("login_policy.homes")
def test_homes(host, policy, evidence):
    most = int(policy.get("login_policy_home_mode") or "0750", 8)
    script = (
        "getent passwd | while IFS=: read -r name _ uid _ _ home _; do [ $uid -ge 1000 ] && [ $uid -lt 60000 ] && "
        '[ -d "$home" ] && [ ! -L "$home" ] && stat -c "$name %a %u $uid %n" "$home"; done'
    )
    lines = [line.split(" ", 4) for line in host.run(script).stdout.splitlines()]
    homes = {line[0]: (int(line[1], 8), line[4]) for line in lines if line[2] == line[3]}
    strange = [f"{line[4]} of {line[0]}" for line in lines if line[2] not in ("0", line[3])]
    evidence({name: f"{mode:04o} {path}" for name, (mode, path) in homes.items()})
    wrong = [
        path for mode, path in homes.values() if mode & ~most & 0o777 and host.run(f"test -d {path}/public_html").rc
    ]
    assert not wrong, f"open to others: {', '.join(wrong)}"
    assert not strange, f"homes that belong to another account: {', '.join(strange)}"


@pytest.mark.control("login_policy.home_files")
def test_home_files(host, evidence):
    script = (
        "getent passwd | while IFS=: read -r name _ uid _ _ home _; do [ $name = root ] || { [ $uid -ge 1000 ] && "
        '[ $uid -lt 60000 ]; } || continue; find "$home/" -maxdepth 1 \\( -name .rhosts -o -name .shosts '
        '-o -name .netrc -o -name .forward \\) -printf "$uid %U %m %y %p\\n" 2>/dev/null; done'
    )
    wrong, seen = [], host.run(script).stdout
    evidence(seen or "none of them is there")
    for line in seen.splitlines():
        uid, owner, mode, kind, path = line.split(" ", 4)
        name, bits = path.rpartition("/")[2], int(mode, 8) if kind != "l" else 0
        if name in (".rhosts", ".shosts") or owner not in ("0", uid) or bits & (0o077 if name == ".netrc" else 0o022):
            wrong.append(f"{mode} {owner} {path}")
    assert not wrong, f"let others in or tell them a password: {', '.join(wrong)}"


@pytest.mark.control("login_policy.root_path")
def test_root_path(host, evidence):
    path = host.run("su -s /bin/bash - root -c 'echo \"$PATH\"' </dev/null").stdout.strip().splitlines()[-1:] or [""]
    places = path[0].split(":")
    look = "stat --dereference --format '%u %a %F' "
    said = {place: host.run(look + shlex.quote(place)).stdout.strip() for place in places}
    evidence(said)
    wrong = [place or "(empty)" for place in places if not place.startswith("/")]
    for place, (owner, mode, kind) in ((place, seen.split(" ", 2)) for place, seen in said.items() if seen):
        if owner != "0" or int(mode, 8) & 0o022 or kind != "directory":
            wrong.append(place)
    assert not wrong, f"others choose what root runs: {', '.join(wrong)}"


@pytest.mark.control("login_policy.shells")
def test_shells(host, policy, evidence):
    kept = policy.get("login_policy_shells_allowed")
    kept = ["postgres", "git", "gitlab-psql", "jenkins", "oracle", "zabbix", "nagios"] if kept is None else kept
    fields = [line.split(":") for line in host.check_output("cat /etc/passwd").splitlines()]
    shells = {
        one[0]: one[6] for one in fields if 0 < int(one[2]) < 1000 and not one[6].endswith(NO_SHELL[:3]) and one[6]
    }
    listed = host.run("grep '/nologin *$' /etc/shells").stdout.split()
    evidence({**shells, "/etc/shells": listed})
    wrong = sorted(set(shells) - {*kept, *LEFT})
    assert not wrong, f"could log in: {', '.join(wrong)}"
    assert not listed, f"counts as a shell to log in with: {', '.join(listed)}"
