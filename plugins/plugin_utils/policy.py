# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which controls are in force on a host: what the roles declare, the host's level, the site's waivers."""

from __future__ import annotations

import datetime
import functools
import pathlib
import re

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # every task that asks reads the files anew: worth the C
ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
ID = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
CONTROL_REQUIRED = {"id": str, "title": str, "why": str, "level": int, "references": list}
CONTROL_OPTIONAL = {"may_break": str}
WAIVER_KEYS = ("control", "hosts", "reason", "owner", "until")


class PolicyError(ValueError):
    """The policy is wrong, and the message says where."""


def _control(entry: object, source: str) -> dict:
    if not isinstance(entry, dict):
        raise PolicyError(f"{source}: a control is a mapping, not {entry!r}")
    name = f"{source}: control {entry.get('id', '(no id)')}"
    for key, kind in CONTROL_REQUIRED.items():
        if not isinstance(entry.get(key), kind) or (kind is str and not entry[key].strip()):
            raise PolicyError(f"{name}: {key} ({kind.__name__}) is missing or wrong")
    for key in entry.keys() - CONTROL_REQUIRED.keys():
        if key not in CONTROL_OPTIONAL:
            raise PolicyError(f"{name}: unknown key {key}")
        if not isinstance(entry[key], CONTROL_OPTIONAL[key]):
            raise PolicyError(f"{name}: {key} is not {CONTROL_OPTIONAL[key].__name__}")
    if not ID.fullmatch(entry["id"]):
        raise PolicyError(f"{name}: an id is <concern>.<name> in lower case")
    if entry["level"] not in (1, 2):
        raise PolicyError(f"{name}: level is 1 or 2, not {entry['level']}")
    if not all(isinstance(reference, str) for reference in entry["references"]):
        raise PolicyError(f"{name}: references is a list of strings")
    return entry


@functools.lru_cache
def load_controls(roles: pathlib.Path = ROLES) -> dict[str, dict]:
    """Every control of the collection by id, each with the role that enforces it."""
    controls: dict[str, dict] = {}
    concerns: dict[str, str] = {}
    for path in sorted(roles.glob("*/meta/controls.yml")):
        role = path.parts[-3]
        source = f"roles/{role}/meta/controls.yml"
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 -- a safe one
        entries = document.get("controls") if isinstance(document, dict) else None
        if not isinstance(entries, list) or not entries:
            raise PolicyError(f"{source}: no list of controls")
        for entry in entries:
            control = _control(entry, source)
            concern = control["id"].split(".")[0]
            if control["id"] in controls:
                raise PolicyError(f"{source}: control {control['id']} is declared twice")
            if concerns.setdefault(concern, role) != role:
                raise PolicyError(f"{source}: control {control['id']}: {concern}.* belongs to role {concerns[concern]}")
            controls[control["id"]] = {**control, "role": role}
        if len({concern for concern, owner in concerns.items() if owner == role}) != 1:
            raise PolicyError(f"{source}: all ids of a role share one concern")
    return controls


def check_level(level: object) -> int:
    if str(level) not in ("1", "2"):
        raise PolicyError(f"hardening_level is 1 or 2, not {level!r}")
    return int(str(level))


def _until(value: object) -> datetime.date:
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError
    return datetime.date.fromisoformat(value)


def check_waivers(
    waivers: object, controls: dict[str, dict], inventory: set[str], today: datetime.date | None = None
) -> list[dict]:
    """Waivers in one form, with the days they have left; a waiver is good through its last day, in UTC.

    *inventory* holds the names of all hosts and groups.
    """
    today = today or datetime.datetime.now(datetime.UTC).date()
    if not isinstance(waivers, (list, tuple)):
        raise PolicyError(f"hardening_waivers is a list, not {waivers!r}")
    checked = []
    for number, waiver in enumerate(waivers, 1):
        name = f"hardening_waivers, entry {number}"
        if not isinstance(waiver, dict):
            raise PolicyError(f"{name}: a waiver is a mapping, not {waiver!r}")
        name += f" ({waiver.get('control') or 'no control'})"
        if unknown := sorted(str(key) for key in waiver.keys() - set(WAIVER_KEYS)):
            raise PolicyError(f"{name}: unknown key {', '.join(unknown)}")
        for key in WAIVER_KEYS:
            value = waiver.get(key)
            if not value or (isinstance(value, str) and not value.strip()):
                raise PolicyError(f"{name}: {key} is missing")
        for key in ("control", "reason", "owner"):
            if not isinstance(waiver[key], str):
                raise PolicyError(f"{name}: {key} is text, not {waiver[key]!r}")
        if waiver["control"] not in controls:
            raise PolicyError(f"{name}: there is no control of this name")
        hosts = [waiver["hosts"]] if isinstance(waiver["hosts"], str) else waiver["hosts"]
        if not isinstance(hosts, (list, tuple)):
            raise PolicyError(f"{name}: hosts is a list of hosts and groups, not {hosts!r}")
        for host in hosts:
            if host not in inventory:
                raise PolicyError(f"{name}: the inventory has no host or group {host}")
        try:
            until = _until(waiver["until"])
        except ValueError:
            raise PolicyError(f"{name}: until is a date such as 2027-01-31, not {waiver['until']!s}") from None
        days_left = (until - today).days
        checked.append(
            {
                "control": str(waiver["control"]),
                "hosts": [str(host) for host in hosts],
                "reason": str(waiver["reason"]),
                "owner": str(waiver["owner"]),
                "until": until.isoformat(),
                "days_left": days_left,
                "expired": days_left < 0,
            }
        )
    return checked


def covers(waiver: dict, host: str, groups: list[str]) -> bool:
    return not {host, "all", *groups}.isdisjoint(waiver["hosts"])


def baseline(controls: dict[str, dict], level: int) -> list[str]:
    """The ids a host of this level answers for, waived or not."""
    return [name for name, control in controls.items() if control["level"] <= level]


def in_force(controls: dict[str, dict], level: int, waivers: list[dict], host: str, groups: list[str]) -> list[str]:
    """The baseline less what a valid waiver excuses on this host."""
    excused = {waiver["control"] for waiver in waivers if not waiver["expired"] and covers(waiver, host, groups)}
    return [name for name in baseline(controls, level) if name not in excused]
