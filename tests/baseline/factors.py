# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has which second factor, by the policy and by what lies on the host; for the tests of several roles."""

from __future__ import annotations

import datetime
import shlex

from ssh_logins import automation_name, declared_sources
from testinfra.host import Host

SECRETS = "/var/lib/rampart/mfa/totp"
DUO = "/etc/rampart/mfa/duo.conf"


def day(policy: dict) -> str:
    return str(policy.get("mfa_grace_until") or policy.get("hardening_mfa_grace_until") or "")


def grace(policy: dict) -> bool:
    """Whether whoever has no factor still gets in today."""
    return day(policy) >= str(datetime.datetime.now(datetime.UTC).date())


def factors(policy: dict) -> dict[str, list[str]]:
    """The factors that each person of the policy may show."""
    default = policy.get("hardening_mfa_factors", ["totp"])
    people = {
        person["name"]: person.get("mfa") or default
        for person in policy.get("hardening_admins", [])
        if person.get("state") != "absent"
    }
    sealed = (policy.get("hardening_break_glass") or {}).get("name")
    return people | ({sealed: ["totp"]} if sealed else {})


def hardware(policy: dict, only: bool = False) -> list[str]:
    """The people whose hardware key counts; those of them who have nothing else."""
    keys = {
        person["name"]
        for person in policy.get("hardening_admins", [])
        if any(str(key).startswith("sk-") for key in person.get("ssh_keys") or [])
    }
    return [
        name for name, has in factors(policy).items() if "key" in has and name in keys and (not only or has == ["key"])
    ]


def exempt(policy: dict) -> dict[str, list[str]]:
    """The accounts of machines, and from where they come."""
    found = {one["name"]: [str(source) for source in one["from"]] for one in policy.get("hardening_mfa_exempt", [])}
    name = automation_name(policy)
    return found | ({name: declared_sources(policy)} if name else {})


def enrolment(host: Host, policy: dict) -> dict[str, list[str]]:
    """The factors that each person, and whoever else may log in over SSH, could show on this host today."""
    secrets = host.run(f"ls {SECRETS} 2>/dev/null").stdout.split()
    keys, duo = hardware(policy), host.run(f"test -s {DUO}").rc == 0
    has = {"totp": lambda name: name in secrets, "key": lambda name: name in keys, "duo": lambda _name: duo}
    group = policy.get("hardening_login_group", "ssh-login")
    members = host.run(f"getent group {shlex.quote(group)}").stdout.strip().rpartition(":")[2].split(",")
    everybody = factors(policy)
    for name in members:
        if name and name not in exempt(policy):
            everybody.setdefault(name, ["totp"])
    return {name: [one for one in may if has[one](name)] for name, may in everybody.items()}


def key_alone(host: Host, policy: dict) -> set[str]:
    """Whose key is enough: machines, unlocked hardware keys, and until the day whoever has not enrolled."""
    waiting = {name for name, found in enrolment(host, policy).items() if not found} if grace(policy) else set()
    return {*exempt(policy), *hardware(policy, only=True), *waiting}
