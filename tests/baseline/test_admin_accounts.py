# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts as the host treats them: its databases, what sudo and sshd would grant, and real attempts to get in.

No password hash leaves the host: it is told here only whether there is one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import posixpath
import re
import shlex

import pytest
from testinfra.host import Host

NO_SHELL = ("nologin", "false", "true", "sync", "halt", "shutdown")
LEFTOVER = ["test", "tester", "testuser", "guest", "demo", "temp", "tmp", "vagrant", "pi", "ubnt"]
# Name, uid, home and shell, whether there is a password that opens, and the day on which the account ends
READ = r"""
getent -s files passwd | while IFS=: read -r name secret uid gid comment home shell; do
  [ "$secret" = x ] && secret=$(getent -s files shadow "$name" | cut -d: -f2)
  case $secret in '') state=empty ;; '!'* | '*'* | x) state=none ;; *) state=set ;; esac
  end=$(getent -s files shadow "$name" | cut -d: -f8)
  owner=$(stat -c %u "$home" 2>/dev/null)
  printf '%s\t' "$name" "$uid" "$home" "$shell" "$state" "$end" "$owner"; echo
done
echo "today $(($(date +%s) / 86400))"
awk '$1 ~ /^UID_M(IN|AX)$/ {print $1, $2}' /etc/login.defs
"""
# Puts a login at a terminal of its own, as a getty that logs somebody in by itself does, and types
CONSOLE = r"""
import os, pty, select, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("login", ["login", "-f", sys.argv[1]])
seen, until, asked = b"", time.time() + 8, 0
while time.time() < until and b"open-42" not in seen:
    time.sleep(0.2)
    try:
        if select.select([terminal], [], [], 0)[0]:
            seen += os.read(terminal, 4096)
        elif time.time() - asked > 2:
            os.write(terminal, b"echo open-$((40+2))\n")
            asked = time.time()
    except OSError:
        pass  # login hangs its terminal up before it opens it anew
    if os.waitpid(pid, os.WNOHANG)[0]:
        break
print("a shell opened" if b"open-42" in seen else "refused")
"""


@dataclasses.dataclass(frozen=True)
class Account:
    name: str
    uid: int
    home: str
    shell: str
    password: str  # set, empty, none
    expired: bool
    human: bool
    owns_home: bool

    @property
    def has_shell(self) -> bool:
        return posixpath.basename(self.shell) not in NO_SHELL


@functools.cache
def accounts(host: Host) -> dict[str, Account]:
    """The host's own accounts by name."""
    text = host.check_output(READ)
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    numbers = dict(line.split(" ", 1) for line in text.splitlines() if "\t" not in line)
    low, high, today = int(numbers.get("UID_MIN", 1000)), int(numbers.get("UID_MAX", 60000)), int(numbers["today"])
    found: dict[str, Account] = {}
    for name, uid, home, shell, password, end, owner, *__ in rows:
        if not uid.isdigit():  # a line of NIS
            continue
        over = end.isdigit() and int(end) <= today
        found.setdefault(
            name, Account(name, int(uid), home, shell, password, over, low <= int(uid) <= high, owner == uid)
        )
    return found


@functools.cache
def sshd(host: Host, name: str) -> dict[str, str]:
    """What sshd grants `name`; empty where there is none."""
    seen = host.run(f"$(command -v sshd || echo /usr/sbin/sshd) -T -C user={name},host=localhost,addr=127.0.0.1")
    return dict(line.split(" ", 1) for line in seen.stdout.splitlines() if " " in line) if seen.rc == 0 else {}


@functools.cache
def keys(host: Host, name: str) -> list[str]:
    """The lines with a key that sshd would read for `name`, shortened to what tells keys apart."""
    account = accounts(host)[name]
    patterns = sshd(host, name).get("authorizedkeysfile", ".ssh/authorized_keys .ssh/authorized_keys2").split()
    tokens = {"%h": account.home, "%u": name, "%U": str(account.uid), "%%": "%"}
    paths = [re.sub("%[huU%]", lambda token: tokens[token.group()], one) for one in patterns if one != "none"]
    files = " ".join(shlex.quote(posixpath.join(account.home, path)) for path in paths)
    return [
        line.strip()
        for line in host.run(f"cat {files} 2>/dev/null").stdout.splitlines()
        if re.search(r"(ssh|ecdsa)-\S+\s+AAAA", line) and not line.lstrip().startswith("#")
    ]


def blob(line: str) -> str:
    found = re.search(r"(?:ssh|ecdsa)-\S+\s+(AAAA\S+)", line)
    return found.group(1) if found else ""


def at_terminal(host: Host, command: str) -> str:
    """What `command` says; sudo may be set up to work at a terminal only."""
    return host.run(f"script -qec {shlex.quote(command)} /dev/null </dev/null | tr -d '\\r'").stdout


@functools.cache
def sudo(host: Host) -> dict[str, tuple[str, str]]:
    """For each account what sudo itself says: (none | some | password | nopasswd, the settings that hold for it)."""
    names = " ".join(shlex.quote(name) for name in accounts(host))
    text = at_terminal(host, f'for name in {names}; do echo "== $name"; sudo -n -l -U "$name" 2>&1; done')
    found = {}
    for block in text.split("== ")[1:]:
        name, __, said = block.partition("\n")
        assert "may run the following" in said or "is not allowed" in said, f"sudo does not tell of {name}: {said}"
        level = "none"
        for rule in re.findall(r"^    \((.*?)\) (.*)$", said, re.MULTILINE):
            as_root = re.search(r"\b(ALL|root)\b", rule[0].split(":")[0])
            words = re.sub(r"[A-Z_]+:", "", rule[1]).strip()
            if as_root and words == "!ALL":
                level = "none"
            elif as_root and re.search(r"(^|, )(ALL|/\S*/(ba|da|z|k)?sh|/\S*/su)$|(^|, )ALL,", words):
                level = "nopasswd" if "NOPASSWD:" in rule[1] or "!authenticate" in said else "password"
            elif level == "none":
                level = "some"
        settings = re.search(r"Matching Defaults entries for .*?:\n((?:    .*\n?)+)", said)
        found[name] = (level, " ".join(settings.group(1).split()) if settings else "")
    return found


def become(host: Host, name: str, command: str = "true") -> str:
    """Empty where root can become `name` and run something; else what was said. PAM asks whether the account holds."""
    done = host.run(f"su -s /bin/sh {shlex.quote(name)} -c {shlex.quote(command)} </dev/null")
    return "" if done.rc == 0 else (done.stderr or done.stdout).strip() or f"exit status {done.rc}"


def people(policy: dict) -> list[dict]:
    return [one for one in policy.get("hardening_admins", []) if one.get("state", "present") == "present"]


def automation(policy: dict) -> str:
    return (policy.get("hardening_automation") or {}).get("name", "")


def sealed(policy: dict) -> str:
    return (policy.get("hardening_break_glass") or {}).get("name", "")


def declared(policy: dict) -> set[str]:
    return {one["name"] for one in people(policy)} | {automation(policy), sealed(policy)} - {""}


def ways_in(host: Host, name: str) -> list[str]:
    """What is left to a disabled account; nothing of it may be."""
    account, found = accounts(host)[name], []
    if account.password != "none":
        found.append(f"{name} has a password ({account.password})")
    if account.has_shell:
        found.append(f"{name} has the shell {account.shell or '/bin/sh'}")
    if not become(host, name):
        found.append(f"{name} can run programs: its account has not ended")
    if account.uid and keys(host, name):
        found.append(f"{name} has {len(keys(host, name))} keys")
    if account.uid and sudo(host)[name][0] != "none":
        found.append(f"{name} has rights in sudo")
    if host.run(f"crontab -l -u {shlex.quote(name)}").rc == 0:
        found.append(f"{name} has a crontab")
    sessions = host.run(f"who | grep -c '^{re.escape(name)} '").stdout.strip()
    if sessions not in ("", "0"):
        found.append(f"{name} is logged in")
    return found


# --- root


@pytest.mark.control("accounts.root_locked")
def test_root_locked(host, evidence):
    evidence({"password": accounts(host)["root"].password, "passwd -S": host.run("passwd -S root").stdout.strip()})
    assert accounts(host)["root"].password == "none", "root has a password"
    assert not become(host, "root"), "su to root no longer works for root itself"
    told = re.findall(r"(?<!!)\b(?:root|target|runas)pw\b", sudo(host)["root"][1])
    assert not told, f"sudo asks for root's password ({told}), which nobody has"


@pytest.mark.control("accounts.root_keys")
def test_root_keys(host, evidence):
    evidence(f"{len(keys(host, 'root'))} keys in {sshd(host, 'root').get('authorizedkeysfile', 'the usual places')}")
    assert not keys(host, "root"), f"{len(keys(host, 'root'))} keys open root"


@pytest.mark.control("accounts.root_console")
def test_root_console(host, evidence, not_applicable):
    if host.run("command -v login").rc != 0:
        not_applicable("there is no login program, and so no console to log in at")
    # as a service, as a getty is: from within a login of our own, PAM might refuse for reasons that are ours
    service = "systemd-run --quiet --pipe --wait --collect" if host.run("test -d /run/systemd/system").rc == 0 else ""
    seen = host.check_output(f"{service} $(command -v python3) -c {shlex.quote(CONSOLE)} root")
    evidence(f"a login of root at a terminal: {seen}")
    assert seen == "refused"


# --- accounts that should not get in


@pytest.mark.control("accounts.uid0")
def test_uid0(host, evidence):
    names = [name for name, account in accounts(host).items() if account.uid == 0]
    evidence({"accounts with uid 0": names})
    left = [way for name in names if name != "root" for way in ways_in(host, name)]
    assert not left, "; ".join(left)


@pytest.mark.control("accounts.databases")
def test_databases(host, evidence):
    def rows(kind, fields):
        said = host.run(f"getent -s files {kind}").stdout_bytes.decode(errors="replace")  # comments in any encoding
        lines = [line.split(":") for line in said.splitlines()]
        return [line for line in lines if len(line) == fields and line[0][:1] not in ("+", "-", "#")]

    passwd, group, shadow = rows("passwd", 7), rows("group", 4), rows("shadow", 9)
    ids = [row[2] for row in passwd if row[2] != "0"]  # those are accounts.uid0's
    wrong = [
        f"{what} twice: {word}"
        for what, words in {"uid": ids, "account": [row[0] for row in passwd],
                            "gid": [row[2] for row in group], "group": [row[0] for row in group]}.items()
        for word in sorted(set(words)) if words.count(word) > 1
    ]  # fmt: skip
    wrong += [f"gid 0: {row[0]}" for row in group if row[2] == "0" and row[0] != "root"]
    keepers = next((row for row in group if row[0] == "shadow"), ["shadow", "", "none", ""])
    wrong += [f"member of shadow: {name}" for name in keepers[3].split(",") if name]
    for name, secret, uid, gid, __, home, __ in passwd:
        if host.run(f"getent group {gid}").rc != 0:
            wrong.append(f"no such group: {gid} of {name}")
        if gid == "0" and uid != "0" and name not in ("sync", "shutdown", "halt", "operator"):
            wrong.append(f"in the group of root: {name}")
        if gid == keepers[2]:
            wrong.append(f"member of shadow: {name}")
        if secret not in ("x", "") and not secret.startswith(("*", "!")):
            wrong.append(f"password outside of shadow: {name}")
        account = accounts(host)[name]
        if account.human and account.has_shell and host.run(f"test -e {shlex.quote(home)}").rc != 0:
            wrong.append(f"no home: {home} of {name}")
    today = int(host.check_output("echo $(($(date +%s) / 86400))"))
    wrong += [f"password changed in the future: {row[0]}" for row in shadow if row[2].isdigit() and int(row[2]) > today]
    evidence({"accounts": len(passwd), "groups": len(group), "wrong": wrong})
    assert not wrong, "; ".join(wrong)


@pytest.mark.control("accounts.empty_passwords")
def test_empty_passwords(host, evidence):
    empty = [name for name, account in accounts(host).items() if account.password == "empty"]
    evidence({"empty passwords": empty, "accounts": len(accounts(host))})
    assert not empty, f"no password is needed for {', '.join(empty)}"


@pytest.mark.control("accounts.leftover")
def test_leftover(host, policy, evidence):
    listed = policy.get("admin_accounts_disabled", [])
    listed += [one["name"] for one in policy.get("hardening_admins", []) if one.get("state") == "absent"]
    kept = declared(policy) | set(policy.get("admin_accounts_logins", [])) | {cloud_user(host)}
    names = [name for name in listed if name in accounts(host)]
    names += [
        name
        for name in policy.get("admin_accounts_leftover", LEFTOVER)
        if name not in kept and name in accounts(host)
        and (accounts(host)[name].human or accounts(host)[name].has_shell)
    ]  # fmt: skip
    removed = [name for name in policy.get("admin_accounts_removed", []) if name in accounts(host)]
    left = [way for name in names for way in ways_in(host, name)] + [f"{name} is still there" for name in removed]
    evidence({"found and locked out": names} if not left else {"found": names, "left": left})
    assert not left, "; ".join(left)


def cloud_user(host: Host) -> str:
    """The account of a cloud image, which keeps its login."""
    seen = host.run("sed -n '/default_user:/,/^ *paths:/s/^ *name: *//p' /etc/cloud/cloud.cfg 2>/dev/null | head -n 1")
    return seen.stdout.strip() or "(none)"


@pytest.mark.control("accounts.system_shells")
def test_system_shells(host, policy, evidence):
    kept = set(policy.get("admin_accounts_service_shells", [])) | set(policy.get("admin_accounts_logins", []))
    with_shell = shells(host, policy)
    busy = set(host.run("ps -eo user:64= | sort -u").stdout.split())
    idle = [
        name
        for name in with_shell
        if not accounts(host)[name].owns_home and name not in busy | kept and not keys(host, name)
        and host.run(f"crontab -l -u {shlex.quote(name)}").rc != 0
    ]  # fmt: skip
    evidence({"system accounts with a shell": with_shell, "nobody works as": idle})
    assert not idle, f"a shell and no use for it: {', '.join(idle)}"


@pytest.mark.control("accounts.service_shells")
def test_service_shells(host, policy, evidence):
    kept = set(policy.get("admin_accounts_service_shells", [])) | set(policy.get("admin_accounts_logins", []))
    left = [name for name in shells(host, policy) if name not in kept and not keys(host, name)]
    evidence({"with a shell, by name": sorted(kept), "with a shell": left})
    assert not left, f"services' accounts with a shell: {', '.join(left)}"


def shells(host: Host, policy: dict) -> list[str]:
    """System accounts that have a shell and are no declared people."""
    return [
        name
        for name, account in accounts(host).items()
        if account.uid and not account.human and account.has_shell and name not in declared(policy)
    ]


# --- accounts that should


@pytest.mark.control("accounts.admins")
def test_admins(host, policy, evidence):
    wrong, seen = [], {}
    for one in people(policy):
        name = one["name"]
        if host.run(f"id -u {shlex.quote(name)}").rc != 0:
            wrong.append(f"{name} is not there")
            continue
        if name not in accounts(host):
            seen[name] = "from a directory"
            continue
        account, level = accounts(host)[name], sudo(host)[name][0]
        seen[name] = {"keys": len(keys(host, name)), "password": account.password, "sudo": level}
        if refused := become(host, name):
            wrong.append(f"{name} cannot work here: {refused}")
        if not account.has_shell:
            wrong.append(f"{name} has no shell")
        missing = {blob(key) for key in one.get("ssh_keys") or []} - {blob(key) for key in keys(host, name)}
        if missing and sshd(host, name).get("authorizedkeysfile") != "none":
            wrong.append(f"{len(missing)} listed keys do not open {name}")
        if one.get("sudo", True) != (level in ("password", "nopasswd")):
            wrong.append(f"{name} has {'no ' if one.get('sudo', True) else ''}sudo")
        if one.get("sudo", True) and name != automation(policy) and account.password != "set":
            rules = at_terminal(host, f"sudo -n -l -U {shlex.quote(name)}")
            seen[name]["may set a first password"] = "NOPASSWD: /usr/local/sbin/rampart-first-password" in rules
            if not seen[name]["may set a first password"]:
                wrong.append(f"{name} has no password and no way to set one: sudo is of no use")
    evidence(seen)
    assert people(policy), "the inventory names no administrators"
    assert not wrong, "; ".join(wrong)


@pytest.mark.control("accounts.admin_keys")
def test_admin_keys(host, policy, evidence):
    wrong, seen = [], {}
    listed = [one for one in [*people(policy), policy.get("hardening_automation") or {}] if one.get("ssh_keys")]
    for one in listed:
        name = one["name"]
        if name not in accounts(host):
            continue
        wanted = {blob(key) for other in listed if other["name"] == name for key in other["ssh_keys"]}
        found = keys(host, name)
        others = [key for key in found if blob(key) not in wanted and "cert-authority" not in key]
        seen[name] = f"{len(found)} keys, {len(others)} of them not listed"
        wrong += [f"{name} is opened by a key that is not listed ({key.split()[-1]})" for key in others]
    evidence(seen)
    assert not wrong, "; ".join(wrong)


@pytest.mark.control("accounts.automation")
def test_automation(host, policy, evidence, not_applicable):
    name = automation(policy)
    if not name:
        not_applicable("the inventory names no automation account")
    assert name in accounts(host), f"{name} is not there"
    evidence({"password": accounts(host)[name].password, "keys": len(keys(host, name)), "sudo": sudo(host)[name][0]})
    assert accounts(host)[name].password == "none", f"{name} has a password that could be guessed"
    refused = become(host, name, "sudo -n true")
    assert not refused, f"{name} cannot become root: {refused}"


@pytest.mark.control("accounts.login_group")
def test_login_group(host, policy, evidence):
    group = policy.get("hardening_login_group", "ssh-login")
    entry = host.run(f"getent group {shlex.quote(group)}").stdout.strip()
    assert entry, f"there is no group {group}"
    members = {name for name in entry.rpartition(":")[2].split(",") if name}
    adopted = set(host.run("grep -v '^#' /etc/rampart/adopted_logins").stdout.split())
    wanted = declared(policy) - {sealed(policy)}
    others = members - wanted - adopted - set(policy.get("admin_accounts_logins", []))
    evidence({"declared": sorted(members & wanted), "adopted": sorted(members & adopted), "others": sorted(others)})
    assert not others, f"may log in and nobody declared or adopted them: {', '.join(sorted(others))}"
    assert not wanted - members, f"declared and may not log in: {', '.join(sorted(wanted - members))}"
    assert "root" not in members
    assert not sealed(policy) or sealed(policy) not in members, "the sealed account may log in over SSH"


# --- sudo


@pytest.mark.control("accounts.sudo_admins")
def test_sudo_admins(host, policy, evidence):
    allowed = {name: level for name, (level, __) in sudo(host).items() if level in ("password", "nopasswd")}
    evidence({"anything as root": allowed})
    strangers = [
        name
        for name, level in allowed.items()
        if accounts(host)[name].uid and name not in declared(policy) | {cloud_user(host)}
        and not accounts(host)[name].expired and (level == "nopasswd" or accounts(host)[name].password == "set")
    ]  # fmt: skip
    assert not strangers, f"may become root and nobody declared them: {', '.join(strangers)}"


@pytest.mark.control("accounts.sudo_nopasswd")
def test_sudo_nopasswd(host, policy, evidence):
    free = [name for name, (level, __) in sudo(host).items() if level == "nopasswd" and accounts(host)[name].uid]
    evidence({"no password asked": free})
    others = [name for name in free if name != automation(policy)]
    assert not others, f"sudo asks no password of {', '.join(others)}"


def settings(host: Host, policy: dict) -> dict[str, list[str]]:
    """The settings of sudo that hold for each of the people and for root, split."""
    names = [name for name in ["root", *sorted(declared(policy))] if name in accounts(host)]
    return {name: re.split(r"(?<!\\),\s*", sudo(host)[name][1]) for name in names}


def last(words: list[str], name: str) -> str:
    """The value that holds, the last one given; '!' where the setting is off, empty where it is not there."""
    found = [word for word in words if re.match(rf"!?{name}\b", word)]
    return ("!" if found[-1].startswith("!") else found[-1].partition("=")[2] or "on") if found else ""


@pytest.mark.control("accounts.sudo_pty")
def test_sudo_pty(host, policy, evidence):
    found = {name: last(words, "use_pty") for name, words in settings(host, policy).items()}
    evidence({"use_pty": found})
    assert set(found.values()) == {"on"}, f"commands share the person's terminal: {found}"


@pytest.mark.control("accounts.sudo_path")
def test_sudo_path(host, policy, evidence):
    found = {name: last(words, "ignore_dot") for name, words in settings(host, policy).items()}
    evidence({"ignore_dot": found})
    assert set(found.values()) == {"on"}, f"sudo may run what lies in the current directory: {found}"


@pytest.mark.control("accounts.sudo_negations")
def test_sudo_negations(host, evidence):
    policy = json.loads(host.check_output("cvtsudoers -f json /etc/sudoers 2>/dev/null"))

    def denied(part):
        if isinstance(part, dict) and part.get("negated") and part.get("command", "ALL") != "ALL":
            return [part["command"]]
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return [command for one in inner for command in denied(one)]

    found = denied([policy.get("User_Specs", []), policy.get("Command_Aliases", {})])
    evidence({"rules": len(policy.get("User_Specs", [])), "forbidden by name": found})
    assert not found, f"rules that forbid single commands are easily got around: {', '.join(found)}"


@pytest.mark.control("accounts.sudo_log")
def test_sudo_log(host, policy, evidence):
    found = {name: last(words, "logfile").strip('"') for name, words in settings(host, policy).items()}
    evidence({"logfile": found})
    assert all(value.startswith("/") for value in found.values()), f"sudo does not log to a file: {found}"
    path, mark = found["root"], f"rampart-verify-{id(found)}"
    at_terminal(host, f"sudo -n true {mark}")
    assert host.run(f"grep -q {mark} {shlex.quote(path)}").rc == 0, f"what sudo just ran is not in {path}"


@pytest.mark.control("accounts.sudo_timeout")
def test_sudo_timeout(host, policy, evidence):
    usual = re.search(r"[Aa]uthentication timestamp timeout: ([\d.-]+)", host.run("sudo -V").stdout)
    found = {
        name: last(words, "timestamp_timeout") or (usual.group(1) if usual else "")
        for name, words in settings(host, policy).items()
    }
    evidence({"minutes": found})
    long = {name: value for name, value in found.items() if not re.fullmatch(r"[\d.]+", value) or float(value) > 15}
    assert not long, f"sudo remembers passwords for too long: {long}"


# --- the sealed account


@pytest.mark.control("accounts.break_glass")
def test_break_glass(host, policy, evidence, not_applicable):
    name = sealed(policy)
    if not name:
        not_applicable("no sealed account is declared (hardening_break_glass)")
    assert name in accounts(host), f"{name} is not there"
    account = accounts(host)[name]
    # the alarm is looked at and not set off: people would come
    hook = r"^session\s+optional\s+pam_exec.so.*rampart-alarm"
    hooks = host.run(f"grep -lE '{hook}' /etc/pam.d/login /etc/pam.d/su").stdout
    evidence({"password": account.password, "sudo": sudo(host)[name][0], "keys": len(keys(host, name)),
              "alarm at": hooks.split(), "groups": host.run(f"id -nG {shlex.quote(name)}").stdout.strip()})  # fmt: skip
    assert account.password == "set" and account.has_shell and not account.expired, f"{name} could not log in"
    assert not keys(host, name), f"{name} has keys"
    assert sudo(host)[name][0] == "password", f"{name} could not become root"
    group = policy.get("hardening_login_group", "ssh-login")
    assert group not in host.run(f"id -nG {shlex.quote(name)}").stdout.split(), f"{name} may log in over SSH"
    assert len(hooks.split()) == 2 and host.run("test -x /usr/local/sbin/rampart-alarm").rc == 0, "its use is no alarm"
