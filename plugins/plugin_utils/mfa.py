# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who shows which second factor on a host, given the policy and what the survey found: nothing here touches a host."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping

from ansible_collections.rampart.hardening.plugins.module_utils.survey_mfa import OURS, TOTP_DIRECTORY
from ansible_collections.rampart.hardening.plugins.module_utils.survey_ssh import MFA_DROPIN
from ansible_collections.rampart.hardening.plugins.plugin_utils import pam as pam_update
from ansible_collections.rampart.hardening.plugins.plugin_utils import ssh, totp

FACTORS = ("totp", "key", "duo")
# What the words of the policy mean to PAM; any other word is itself the name of a PAM service
SERVICES = {
    "ssh": ["sshd"],
    "sudo": ["sudo", "sudo-i", "su", "su-l", "polkit-1"],
    "console": ["login", "gdm-password", "lightdm", "sddm", "xdm"],
}
PROVABLE = ("sshd", "sudo", "login")  # PAM lets root pass su, so that root cannot try it
HARDWARE = [
    f"{name}{suffix}"
    for name in ("sk-ssh-ed25519", "sk-ecdsa-sha2-nistp256")
    for suffix in ("@openssh.com", "-cert-v01@openssh.com")
]
DUO_REQUIRED = ("host", "ikey", "skey")
DUO_OPTIONAL = ("failmode", "pushinfo", "autopush", "prompts", "https_timeout", "cafile", "http_proxy")
FAIL_MODES = ("secure", "safe")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
SERVICE = re.compile(r"[a-z0-9][a-z0-9_.-]*")
PROGRAM = "/usr/local/lib/rampart/mfa"
PROFILE = "/usr/share/pam-configs/rampart-mfa"
U2F_FILE = "/etc/rampart/mfa/u2f"
DUO_FILE = "/etc/rampart/mfa/duo.conf"
# In its file pam_google_authenticator keeps when codes were tried and which were used, and crosses out scratch codes
TOTP_NOTES = r"^\d{8}\n| +\d{7,}| +$"
STEP = 30  # seconds for which a code is shown


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def words(value: object) -> list[str]:
    """A word or a list of them, as a list."""
    return [str(word) for word in (value if isinstance(value, (list, tuple)) else [value] if value else [])]


def day(value: object) -> datetime.date | None:
    """A date as YAML or a person writes it; ValueError where it is none."""
    if not value:
        return None
    return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(str(value))


def hardware_keys(person: Mapping) -> list[str]:
    """Those of the person's public keys that live in hardware."""
    return [str(key) for key in person.get("ssh_keys") or [] if re.search(r"(^|\s)sk-\S+@openssh\.com\s", str(key))]


# --- the policy


def policy_trouble(policy: Mapping) -> list[str]:
    """What is wrong with the policy, whatever the host."""
    found = []
    for service in policy["services"]:
        if not SERVICE.fullmatch(service):
            found.append(f"hardening_mfa_services: {service!r} is neither ssh, sudo, console nor a PAM service")
    for person in policy["people"]:
        if not NAME.fullmatch(person["name"]):
            found.append(f"{person['name']!r} is not a name that sshd and PAM can be told")
        for factor in person["factors"]:
            if factor not in FACTORS:
                found.append(f"{person['name']}: {factor!r} is no second factor; there are {', '.join(FACTORS)}")
        if not person["factors"]:
            found.append(f"{person['name']} has no second factor to choose from: set mfa, or hardening_mfa_factors")
    for account in policy["exempt"]:
        name = account.get("name") or ""
        missing = [key for key in ("name", "from", "reason") if not account.get(key)]
        if missing:
            found.append(f"hardening_mfa_exempt: {name or account} lacks {', '.join(missing)}")
        elif not NAME.fullmatch(name):
            found.append(f"hardening_mfa_exempt: {name!r} is not a name that sshd can be told")
        elif name in ("root", *(person["name"] for person in policy["people"])):
            found.append(f"hardening_mfa_exempt: {name} is a person; only accounts of machines are exempt")
    found += totp.problems(policy["totp_secrets"])
    if any("duo" in person["factors"] for person in policy["people"]):
        duo = policy["duo"]
        missing = [key for key in DUO_REQUIRED if not duo.get(key)]
        unknown = sorted(set(duo) - {*DUO_REQUIRED, *DUO_OPTIONAL})
        if missing:
            found.append(f"hardening_duo lacks {', '.join(missing)}")
        if unknown:  # pam_duo lets everybody in where it meets a key that it does not know
            found.append(f"hardening_duo: pam_duo is not given {', '.join(unknown)}")
        if duo.get("failmode", "secure") not in FAIL_MODES:
            found.append(f"hardening_duo: failmode is one of {', '.join(FAIL_MODES)}")
        odd = [key for key, value in duo.items() if not re.fullmatch(r"\S{1,150}", str(value))]
        if odd:  # an empty cafile is no look at the certificate at all; a line of 200 characters is not read
            found.append(f"hardening_duo: empty, with blanks or longer than 150 characters: {', '.join(sorted(odd))}")
        if not str(duo.get("https_timeout", 5)).isdigit() or int(duo.get("https_timeout", 5)) < 1:
            found.append("hardening_duo: https_timeout is at least 1 second; 0 would wait for ever")
    return found


def enrolled(person: Mapping, policy: Mapping) -> list[str]:
    """The factors that this person could show today."""
    has = {
        "totp": person["name"] in policy["totp_secrets"],
        "key": bool(hardware_keys(person)),
        "duo": bool(policy["duo"]),
    }
    return [factor for factor in person["factors"] if has.get(factor)]


def plan(
    survey: Mapping,
    controls: Iterable[str] = (),
    services: Iterable[str] = (),
    admins: Iterable[Mapping] = (),
    break_glass: str = "",
    factors: object = "totp",
    totp_secrets: Mapping | None = None,
    duo: Mapping | None = None,
    grace_until: object = None,
    exempt: Iterable[Mapping] = (),
    closed: Iterable[str] = (),
    window: int = 3,
    today: datetime.date | None = None,
) -> dict:
    """Who shows what, for the templates; under `refuse` why the host must be left alone.

    `exempt` begins with the automation account; `closed` are accounts that another role keeps out.
    """
    controls, today = set(controls), today or datetime.datetime.now(datetime.UTC).date()
    people = [
        {**person, "factors": words(person.get("mfa")) or words(factors)}
        for person in admins
        if person.get("state", "present") != "absent"
    ]
    if break_glass:
        people.append({"name": break_glass, "factors": ["totp"], "sudo": True})
    policy = {
        "people": people,
        "services": [one for one in services if one not in SERVICES or f"mfa.{one}" in controls],
        "exempt": [account for account in exempt if account],
        "totp_secrets": totp_secrets or {},
        "duo": duo or {},
    }
    result = {
        "ssh": "ssh" in policy["services"] and bool(survey["ssh"]["installed"]),
        "services": [name for one in policy["services"] for name in SERVICES.get(one, [one])],
        "exempt": [{**account, "from": words(account.get("from"))} for account in policy["exempt"]],
        "hardware": ssh.supported(HARDWARE, survey["ssh"]["algorithms"]["signature"]),
        "notes": [],
    }
    if not result["services"]:
        return {**result, "refuse": [], **dict.fromkeys(("duo", "graced", "key", "key_only"), []), "grace": "",
                "totp": {}, "u2f": {}}  # fmt: skip
    refuse = policy_trouble(policy)
    try:
        grace = day(grace_until)
    except ValueError:
        refuse.append(f"hardening_mfa_grace_until: {grace_until!r} is not a date such as 2027-01-31")
        grace = None
    has = {person["name"]: enrolled(person, policy) for person in people}
    key_only = [name for name, found in has.items() if found == ["key"]]
    u2f = {person["name"]: words(person.get("u2f")) for person in people if person.get("u2f")}
    for person in people:
        name = person["name"]
        if name in key_only and person.get("sudo", True) and "sudo" in policy["services"] and name not in u2f:
            refuse.append(
                f"{name} has a hardware key for SSH and nothing to show to sudo, which the key cannot reach from "
                "afar: give a second factor more (mfa: [key, totp]), or u2f for a key that is plugged in there"
            )
    lost = [name for name, found in has.items() if not found] + others(survey, has, result, closed)
    return {
        **result,
        "refuse": refuse + host_trouble(survey, policy["services"], window) + shut_out(has, lost, grace, today),
        "notes": notes(survey, lost, grace, today),
        "totp": {name: policy["totp_secrets"][name] for name, found in has.items() if "totp" in found},
        "duo": sorted(name for name, found in has.items() if "duo" in found),
        "u2f": u2f,
        "key_only": sorted(key_only),
        "key": sorted(name for name, found in has.items() if "key" in found and name not in key_only),
        "grace": grace.strftime("%Y%m%d") if grace else "",
        "graced": sorted(name for name in lost if grace and grace >= today and NAME.fullmatch(name)),
    }


# --- the host


def host_trouble(survey: Mapping, services: Iterable[str], window: int) -> list[str]:
    """What of the host stands against a second factor."""
    found, skew, most = [], survey["mfa"]["skew"], STEP * (window // 2)
    if abs(skew) > most:
        side = "ahead of" if skew > 0 else "behind"
        found.append(
            f"its clock is {abs(skew):.0f} seconds {side} this controller's, and a code is right for {most} seconds "
            "at most around the time: set it and keep it (systemd-timesyncd, chrony), or nobody gets in"
        )
    asked = {f"/etc/pam.d/{name}" for one in services for name in SERVICES.get(one, [one])} | {"/etc/pam.d/common-auth"}
    for line in survey["mfa"]["foreign"]:
        if line["file"] in asked:
            found.append(
                f"{line['file']}:{line['line']} asks for a second factor already ({line['module']}): people would be "
                "asked twice; take it out, or leave this service out of hardening_mfa_services"
            )
    return found


def others(survey: Mapping, has: Mapping, result: Mapping, closed: Iterable[str]) -> list[str]:
    """Accounts besides people and exempt ones that log in over SSH today."""
    accounts = survey["accounts"]
    if not result["ssh"]:
        return []
    group = accounts["login_group"]
    found = group["members"] if group["exists"] else [
        login["name"] for login in accounts["logins"] if login["ssh"] and login["uid"] != 0
    ]  # fmt: skip
    return sorted(set(found) - set(has) - {one["name"] for one in result["exempt"]} - set(closed))


def shut_out(has: Mapping, lost: list[str], grace: datetime.date | None, today: datetime.date) -> list[str]:
    """Why this would shut out people who nobody said are to be shut out. `lost` have no factor."""
    if not any(has.values()) and (grace is None or grace < today):
        return [
            "nobody is enrolled, so that nobody would get in any more: run rampart.hardening.mfa_enrol, or set "
            "hardening_mfa_grace_until to the day until which keys are to be enough"
        ]
    if grace is not None or not lost:
        return []
    return [
        f"these log in today and have no second factor: {listed(lost)}. Enrol them (rampart.hardening.mfa_enrol), "
        "exempt machines (hardening_mfa_exempt), or say until when keys are enough (hardening_mfa_grace_until)"
    ]


def notes(survey: Mapping, lost: list[str], grace: datetime.date | None, today: datetime.date) -> list[str]:
    """What people should know of it. `lost` have no factor."""
    found = []
    if lost and grace is not None:
        how = f"get in with their key alone until {grace}" if grace >= today else f"are shut out since {grace}"
        found.append(f"not enrolled, {how}: {listed(lost)}")
    if survey["mfa"]["synchronized"] is False:
        found.append("nothing keeps this host's clock; once it is wrong, so are all codes")
    return found


# --- the whole change


def totp_file(entry: Mapping, attempts: int, seconds: int, window: int) -> str:
    """What pam_google_authenticator reads: the secret, its options, the scratch codes."""
    options = [f"RATE_LIMIT {attempts} {seconds}", f"WINDOW_SIZE {window}", "DISALLOW_REUSE", "TOTP_AUTH"]
    codes = [str(code) for code in entry.get("scratch_codes") or []]
    return "\n".join([totp.normalise(entry["secret"]), *(f'" {option}' for option in options), *codes]) + "\n"


def change(
    survey: Mapping,
    plan: Mapping,
    sshd: str = "",
    pam: str = "",
    profile: str = "",
    program: str = "",
    duo: str = "",
    proof: str = "",
    attempts: int = 6,
    seconds: int = 180,
    window: int = 3,
) -> dict:
    """The arguments of the confirmed change. The other arguments are the rendered files and the limits of codes."""
    on = bool(plan["services"])
    refuse, noted, files = list(plan["refuse"]), list(plan["notes"]), []
    secret = {"owner": "root", "group": "root", "sensitive": True}
    if on:
        files += [
            {"path": PROGRAM, "content": program, "mode": "0755"},
            {"path": TOTP_DIRECTORY.rpartition("/")[0], "state": "directory", "mode": "0700"},
            {"path": TOTP_DIRECTORY, "state": "directory", "mode": "0700"},
            {"path": PROFILE, "content": profile},
            {"path": OURS, "content": pam},
        ]
    for name, entry in sorted(plan["totp"].items()):
        text = totp_file(entry, attempts, seconds, window)
        path = f"{TOTP_DIRECTORY}/{name}"
        files.append({"path": path, "content": text, "ignore": TOTP_NOTES, "mode": "0400", **secret})
    if plan["duo"]:
        files.append({"path": DUO_FILE, "content": duo, "mode": "0600", **secret})
    if plan["u2f"]:
        lines = [":".join([name, *credentials]) + "\n" for name, credentials in sorted(plan["u2f"].items())]
        files.append({"path": U2F_FILE, "content": "".join(lines), "mode": "0600"})
    commands = {"validate": [], "active": [], "activate": []}
    if sshd and on:
        found = ssh.takeover(survey["ssh"], sshd, MFA_DROPIN)
        refuse += found["refuse"]
        noted += [f"overrides {one}" for one in found["overridden"]]
        files.append({"path": MFA_DROPIN, "content": sshd, "mode": "0600"})
        if found["main"]:
            files.append({**found["main"], "mode": survey["ssh"]["config"].get("mode", "0600")})
    if survey["ssh"]["installed"]:
        commands = {"validate": ssh.validation(survey["ssh"]), **ssh.activation(survey["ssh"], MFA_DROPIN)}
    kept = {entry["path"] for entry in files}
    other = [f"{TOTP_DIRECTORY}/{name}" for name in survey["mfa"]["enrolled"]]
    other += [MFA_DROPIN, DUO_FILE, U2F_FILE, PROFILE, OURS, PROGRAM]
    files += [{"path": path, "state": "absent", "sensitive": True} for path in other if path not in kept]
    provable = [name for name in PROVABLE if name in plan["services"]]
    return {
        "refuse": refuse,
        "notes": noted,
        "files": files,
        "derive": [
            pam_update.derivation(["rampart-mfa"], [], {"account": ["rampart-mfa"], "auth": ["rampart-mfa"]}) if on
            else pam_update.derivation([], ["rampart-mfa"], {"account": [], "auth": []}, ["rampart-mfa"])
        ],
        **commands,
        "prove": [["python3", "-I", "-c", proof, *provable]] if plan["totp"] and provable and on else [],
    }  # fmt: skip
