# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for passwords and sessions, given the policy and what the survey found: nothing here touches a host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ansible_collections.rampart.hardening.plugins.plugin_utils.pam import derivation

HEADER = "# Written by the role login_policy of rampart.hardening. Do not edit: change the inventory.\n"
PROFILES = "/usr/share/pam-configs/"
LOGIN_PROFILE = PROFILES + "rampart-login"
COUNT_PROFILE = PROFILES + "rampart-login-count"
HISTORY_PROFILE = PROFILES + "rampart-login-history"
QUALITY_FILE = "/etc/security/pwquality.conf.d/rampart.conf"
TMPFILES_FILE = "/etc/tmpfiles.d/rampart-login.conf"
DPKG_FILE = "/etc/dpkg/dpkg.cfg.d/rampart-login"
TIMEOUT_FILE = "/etc/profile.d/zz-rampart.sh"
# What Debian has there by itself; it tells the system's name and version
TELLING = re.compile(r"\\[mnorsvSl4]|\bDebian GNU/Linux \d|\bUbuntu \d")
HIGH, LOW = "high", "low"  # which side of a value is stricter
ROUNDS = "65536"


def number(value: object) -> int | None:
    try:
        return int(str(value), 0) if not re.fullmatch(r"0[0-7]+", str(value)) else int(str(value), 8)
    except ValueError:
        return None


def strict_enough(found: str, wanted: str, side: str) -> bool:
    """Whether what a file says is at least as strict as what is wanted."""
    if found.lower() == wanted.lower():
        return True
    one, other = number(found), number(wanted)
    if one is None or other is None:
        return False
    if side == "mask":  # every bit that is to be taken away is
        return one | other == one
    if side == "mode":
        return one | other == other
    return (side == HIGH and one > other) or (side == LOW and 0 <= one < other)


def with_settings(text: str, wanted: Mapping[str, tuple], separator: str = " ") -> tuple[str, list[str]]:
    """`text` with each of `wanted` {key: (value, side)} in force, and which lines that overrides.

    A line that is strict enough stays; the first other line of a key is replaced, further ones are taken out.
    """
    lines, done, overridden = [], set(), []
    pattern = re.compile(r"^\s*([A-Za-z_]+)\s*" + ("=" if "=" in separator else r"\s") + r"\s*(\S+)")
    for index, line in enumerate(text.splitlines(), 1):
        match = pattern.match(line)
        key = match[1] if match else None
        if key not in wanted:
            lines.append(line)
            continue
        value, side = wanted[key]
        if strict_enough(match[2], value, side):
            lines.append(line)
            done.add(key)
            continue
        overridden.append(f"{index} ({key}{separator}{match[2]})")
        if key not in done:
            lines.append(f"{key}{separator}{value}")
            done.add(key)
    lines += [f"{key}{separator}{value}" for key, (value, _side) in wanted.items() if key not in done]
    return "\n".join(lines) + "\n", overridden


def without_settings(text: str, wanted: Mapping[str, tuple]) -> tuple[str, list[str]]:
    """`text` with the lines that are weaker than `wanted` commented out, and which those are."""
    lines, overridden = [], []
    for index, line in enumerate(text.splitlines(), 1):
        match = re.match(r"^\s*(\w+)\s*(?:=\s*(\S+))?", line)
        key = match[1] if match else None
        if key in wanted and not strict_enough(match[2] or "1", *wanted[key]):
            overridden.append(f"{index} ({line.strip()})")
            line = f"# weaker than the policy (rampart.hardening): {line}"
        lines.append(line)
    return "\n".join(lines) + "\n", overridden


def quality(minimum: int) -> dict[str, tuple]:
    """What pam_pwquality is told: {key: (value, side)}."""
    return {"minlen": (str(minimum), HIGH), "minclass": ("3", HIGH), "difok": ("2", HIGH), "maxrepeat": ("3", LOW),
            "maxsequence": ("3", LOW), "dictcheck": ("1", HIGH), "usercheck": ("1", HIGH), "enforcing": ("1", HIGH),
            "enforce_for_root": ("1", HIGH)}  # fmt: skip


def profile(title: str, priority: int, **parts: str) -> str:
    """A profile of pam-auth-update; `parts` are Auth, Account, Password, Session (and …_Initial, where first)."""
    blocks = [f"Name: {title} (rampart.hardening)", "Default: yes", f"Priority: {priority}"]
    for kind, text in parts.items():
        if not kind.endswith("Initial"):
            blocks.append(f"{kind}-Type: {'Additional' if kind == 'Session' else 'Primary'}")
        blocks.append(f"{kind.replace('_', '-')}:\n\t" + text.replace("\n", "\n\t"))
    return "\n".join(blocks) + "\n"


def profiles(on: set[str], deny: int, unlock: int, interval: int, remember: int) -> dict[str, str]:
    """The profiles by their paths; empty where not wanted."""
    options = f"deny={deny} unlock_time={unlock} fail_interval={interval}"
    login = {}
    if "login_policy.lockout" in on:
        login["Auth"] = f"requisite pam_faillock.so preauth silent {options}"
    account = ["required pam_faillock.so"] if "login_policy.lockout" in on else []
    if "login_policy.ageing" in on:
        # whoever showed a key instead of the password is not asked to change that
        account.append("[success=end new_authtok_reqd=done default=ignore] pam_unix.so no_pass_expiry")
    if account:
        login["Account"] = "\n".join(account)
    session = ["optional pam_umask.so"] if "login_policy.umask" in on else []  # Debian 12 does not
    session += ["optional pam_tmpdir.so"] if "login_policy.private_tmp" in on else []
    if session:
        login["Session"] = "\n".join(session)
    history = f"requisite pam_pwhistory.so remember={remember} enforce_for_root"
    return {
        LOGIN_PROFILE: profile("Failed passwords and expired ones", 3072, **login) if login else "",
        COUNT_PROFILE: profile("Count failed passwords", 0, Auth=f"[default=die] pam_faillock.so authfail {options}")
        if "login_policy.lockout" in on else "",
        HISTORY_PROFILE: profile("No password again", 512, Password=f"{history} use_authtok try_first_pass",
                                 Password_Initial=history)
        if "login_policy.history" in on else "",
    }  # fmt: skip


def ageing(survey: Mapping, longest: int, shortest: int, warn: int, exempt: Iterable[str]) -> dict:
    """How passwords age: {wanted: {name: (min, max, warn)}, before: the same of those that differ, old: [name]}."""
    wanted, before, old = {}, {}, []
    for account in survey["login"]["passwords"]:
        name = account["name"]
        if name in exempt or account["max"] == 0:
            continue
        here = (account["min"] or 0, account["max"] if account["max"] is not None else -1, account["warn"] or 0)
        there = (max(here[0], shortest), here[1] if 0 < here[1] <= longest else longest, max(here[2], warn))
        wanted[name] = there
        if here != there:
            before[name] = (account["min"], account["max"], account["warn"])
            if account["age"] is not None and account["age"] > there[1]:
                old.append(name)
    return {"wanted": wanted, "before": before, "old": old}


def chage(name: str, values: Iterable[object]) -> list[str]:
    least, most, warn = (-1 if value is None else value for value in values)
    # on the way back the account may be gone
    script = 'getent passwd "$0" >/dev/null || exit 0; exec chage -m "$1" -M "$2" -W "$3" "$0"'
    return ["sh", "-c", script, name, str(least), str(most), str(warn)]


def su_file(text: str, group: str) -> str:
    """/etc/pam.d/su with the line that asks for the group, after the one that lets root through."""
    line = f"auth       requisite pam_wheel.so use_uid group={group}"
    lines = [one for one in text.splitlines() if not re.match(r"\s*auth\s.*pam_wheel\.so", one)]
    root = [index for index, one in enumerate(lines) if re.match(r"\s*auth\s+sufficient\s+pam_rootok\.so", one)]
    lines.insert(root[0] + 1 if root else 0, line)
    return "\n".join(lines) + "\n"


def change(
    survey: Mapping,
    controls: Iterable[str] = (),
    length: int = 14,
    remember: int = 24,
    deny: int = 5,
    unlock: int = 900,
    longest: int = 365,
    shortest: int = 1,
    warn: int = 7,
    inactive: int = 45,
    exempt: Iterable[str] = (),
    umask: str = "027",
    timeout: int = 900,
    banner: str = "",
    su_group: str = "sudo",
    home_mode: str = "0750",
    shells_allowed: Iterable[str] = (),
) -> dict:
    """The arguments of the confirmed change. The other arguments are the role's variables without their prefix."""
    on, login = set(controls), survey["login"]
    files, notes, refuse = [], [], []
    active, activate, revert = [], [], []
    there, exempt = login["files"], {name for name in exempt if name}

    def shared(path: str, text: str) -> None:
        if path in there and there[path]["text"] != text:
            files.append({"path": path, "content": text, "mode": there[path]["mode"]})

    def settle(path: str, wanted: Mapping[str, tuple], separator: str) -> None:
        if wanted and path in there:
            text, overridden = with_settings(there[path]["text"], wanted, separator)
            shared(path, text)
            notes.extend(f"overrides {path}:{one}" for one in overridden)

    # passwords
    rules = quality(length) if "login_policy.password_quality" in on else {}
    files.append({"path": QUALITY_FILE, "content": HEADER + "".join(
        key + ("\n" if key == "enforce_for_root" else f" = {value}\n") for key, (value, _side) in rules.items())}
        if rules else {"path": QUALITY_FILE, "state": "absent"})  # fmt: skip
    if rules and "/etc/security/pwquality.conf" in there:  # it is read after the drop-in
        text, overridden = without_settings(there["/etc/security/pwquality.conf"]["text"], rules)
        shared("/etc/security/pwquality.conf", text)
        notes += [f"overrides /etc/security/pwquality.conf:{one}" for one in overridden]
    definitions = {}
    if "login_policy.hashing" in on:
        # the rounds are for tools that are told to take SHA
        definitions.update(ENCRYPT_METHOD=("YESCRYPT", ""), SHA_CRYPT_MIN_ROUNDS=(ROUNDS, HIGH),
                           SHA_CRYPT_MAX_ROUNDS=(ROUNDS, HIGH))  # fmt: skip
    if "login_policy.ageing" in on:
        definitions.update(PASS_MAX_DAYS=(str(longest), LOW), PASS_MIN_DAYS=(str(shortest), HIGH),
                           PASS_WARN_AGE=(str(warn), HIGH))  # fmt: skip
        settle("/etc/default/useradd", {"INACTIVE": (str(inactive), LOW)}, "=")
    if "login_policy.umask" in on:
        definitions["UMASK"] = (umask, "mask")
    if "login_policy.homes" in on:
        definitions["HOME_MODE"] = (home_mode, "mode")
    settle("/etc/login.defs", definitions, "\t")
    weak = [account["name"] for account in login["passwords"] if not account["strong"]]
    if weak and "login_policy.hashing" in on:
        notes.append(f"passwords with a hash that is guessed fast, until they are changed: {', '.join(weak)}")

    # PAM
    theirs = [place for place in login["counted"] if not place["file"].startswith("/etc/pam.d/common-")
              or not login["ours"]]  # fmt: skip
    asked = set(on)
    if theirs and "login_policy.lockout" in on:
        asked.discard("login_policy.lockout")
        notes.append(f"{theirs[0]['file']}:{theirs[0]['line']} counts failed passwords already, and is left to it")
    if "login_policy.private_tmp" in on and (login["apart"] or login["tmpdir"]):
        asked.discard("login_policy.private_tmp")
        notes += [f"{path} gives sessions a /tmp of their own already, and is left to it" for path in login["apart"]]
    settings = dict(re.findall(r"(?m)^\s*(deny|unlock_time)\s*=\s*(\d+)", there.get(
        "/etc/security/faillock.conf", {}).get("text", "")))  # fmt: skip
    made = profiles(asked, min(deny, int(settings.get("deny", deny)) or deny),
                    max(unlock, int(settings.get("unlock_time", unlock))), 900, remember)  # fmt: skip
    files += [{"path": path, "content": text} if text else {"path": path, "state": "absent"}
              for path, text in made.items()]  # fmt: skip
    names = [path.rpartition("/")[2] for path, text in made.items() if text]
    session = ["pam_umask.so"] if "login_policy.umask" in asked else []
    session += ["pam_tmpdir.so"] if "login_policy.private_tmp" in asked else []
    present = {"account": ["no_pass_expiry"] if "login_policy.ageing" in asked else [], "auth": [], "password": [],
               "session": session, "session-noninteractive": session}  # fmt: skip
    if "login_policy.lockout" in asked:
        present["auth"] += ["pam_faillock.so preauth", "pam_faillock.so authfail"]
    if "login_policy.history" in asked:
        present["password"].append("pam_pwhistory.so")
    if "login_policy.password_quality" in on and login["modules"]["pwquality"]:  # being installed, it puts itself in
        names.append("pwquality")
        present["password"].append("pam_pwquality.so")
    gone = [path.rpartition("/")[2] for path, text in made.items() if not text and path in login["ours"]]
    derive = [derivation(names, gone, present)] if names or gone else []
    if "login_policy.history" in on and login["remember"]:
        notes.append("common-password was edited by hand: pam_unix remembers passwords beside pam_pwhistory")
    if "login_policy.hashing" in on and not login["yescrypt"]:
        notes.append("common-password was edited by hand and does not hash with yescrypt; pam-auth-update says more")

    # how old passwords may get
    if "login_policy.ageing" in on:
        aged = ageing(survey, longest, shortest, warn, {*exempt, *survey["accounts"]["uid0"]})
        script = 'for one; do [ "$(getent shadow "${one%%:*}" | cut -d: -f4-6)" = "${one#*:}" ] || exit 1; done'
        if aged["wanted"]:
            active.append(["sh", "-c", script, "sh", *(":".join([name, *map(str, values)])
                                                       for name, values in aged["wanted"].items())])  # fmt: skip
        activate += [chage(name, aged["wanted"][name]) for name in aged["before"]]
        revert += [chage(name, values) for name, values in aged["before"].items()]
        if aged["old"]:
            notes.append(f"have to change their password when they next use it: {', '.join(aged['old'])}")

    # sessions
    apart = {
        # made before anybody else can at the boot, and not cleaned away under a session that lasts; as Debian 13 has it
        TMPFILES_FILE: f"{HEADER}d /tmp/user 0711 root root -\n",
        # as at its installation: an upgrade does not bring the package's own profile, and debsums does not miss it
        DPKG_FILE: f"{HEADER}path-exclude=/usr/share/pam-configs/tmpdir\n",
    }
    files += [{"path": path, "content": text} if "login_policy.private_tmp" in asked else
              {"path": path, "state": "absent"} for path, text in apart.items()]  # fmt: skip
    files.append({"path": TIMEOUT_FILE, "content": timeout_file(timeout)} if "login_policy.timeout" in on
                 else {"path": TIMEOUT_FILE, "state": "absent"})  # fmt: skip
    if "login_policy.banners" in on:
        for path in ("/etc/issue", "/etc/issue.net"):
            if path not in there or TELLING.search(there[path]["text"]):
                files.append({"path": path, "content": banner})
        if TELLING.search(there.get("/etc/motd", {}).get("text", "")):
            shared("/etc/motd", "")
    if "login_policy.su" in on and "/etc/pam.d/su" in there:
        if su_group in survey["accounts"]["groups"] or su_group == "sudo":
            shared("/etc/pam.d/su", su_file(there["/etc/pam.d/su"]["text"], su_group))
        else:
            refuse.append(f"login_policy_su_group: {su_group} is no group with members on this host")

    # homes and shells; what is a person's own is named and left
    if "login_policy.home_files" in on:
        notes += login["dots"]
    if "login_policy.homes" in on:
        notes += login["strangers"]
        most = int(home_mode, 8)
        for home in login["homes"]:
            if home["public"]:
                notes.append(f"{home['path']} stays open to others: it has pages of the web in it (public_html)")
            elif home["mode"] & ~most & 0o777:
                mode = f"{home['mode'] & (most | 0o7000):04o}"
                files.append({"path": home["path"], "state": "directory", "mode": mode, "owner": home["uid"],
                              "group": home["gid"]})  # fmt: skip
    if "login_policy.shells" in on:
        listed = there.get("/etc/shells", {}).get("text", "")
        shared("/etc/shells", "".join(one for one in listed.splitlines(True) if not one.strip().endswith("/nologin")))
        for account in login["shells"]:
            if account["name"] not in shells_allowed:
                active.append(["sh", "-c", 'getent passwd "$0" | grep -q "/nologin$"', account["name"]])
                script = 'getent passwd "$0" >/dev/null || exit 0; exec usermod -s "$1" "$0"'
                activate.append(["sh", "-c", script, account["name"], "/usr/sbin/nologin"])
                revert.append(["sh", "-c", script, account["name"], account["shell"]])
    return {"refuse": refuse, "notes": notes, "files": files, "derive": derive, "active": active,
            "activate": activate, "revert": revert}  # fmt: skip


def timeout_file(seconds: int) -> str:
    """Idle shells end, unless they are to end sooner already. A shell reads this more than once."""
    return HEADER + (
        f'if [ "${{TMOUT:-0}}" -gt {seconds} ] 2>/dev/null || [ "${{TMOUT:-0}}" -le 0 ] 2>/dev/null; then\n'
        f"    TMOUT={seconds}\nfi\nreadonly TMOUT 2>/dev/null\nexport TMOUT\n"
    )
