# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns evidence into one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import datetime
import pathlib

import jinja2

from .evidence import VERDICTS, count

TEMPLATE = pathlib.Path(__file__).with_suffix(".html.j2")
GLYPHS = {"pass": "✓", "fail": "✗", "waived": "W", "na": "–", "error": "!"}
WORDS = {"pass": "pass", "fail": "fail", "waived": "waived", "na": "not applicable", "error": "error"}
SOON = 30  # days before its end from which a waiver is marked


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def days(number: int) -> str:
    return "1 day" if abs(number) == 1 else f"{abs(number)} days"


def _changes(evidence: dict) -> dict:
    """Changes as a reader wants them: hosts that are new or gone in one line, the rest by control, worst first."""
    known: dict[tuple, list[str]] = {}
    appeared: dict[str, int] = {}
    gone: dict[str, int] = {}
    for change in evidence["changes"]:
        if change["before"] is None:
            appeared[change["host"]] = appeared.get(change["host"], 0) + 1
        elif change["after"] is None:
            gone[change["host"]] = gone.get(change["host"], 0) + 1
        else:
            known.setdefault((change["control"], change["before"], change["after"]), []).append(change["host"])
    rank = {"fail": 0, "error": 1, "waived": 2, "na": 3, "pass": 4}
    rows = [
        {"control": control, "before": before, "after": after, "hosts": hosts}
        for (control, before, after), hosts in sorted(known.items(), key=lambda item: rank[item[0][2]])
    ]
    return {"rows": rows, "appeared": appeared, "gone": gone}


def _attention(evidence: dict) -> list[dict]:
    """What fails or could not be tested on hosts that answered: by control, then hosts that say the same together."""
    rows = []
    for verdict in ("fail", "error"):
        for control in evidence["controls"]:
            said: dict[str, list[str]] = {}
            for name, host in evidence["hosts"].items():
                result = host["results"].get(control)
                if result and host["reachable"] and result["verdict"] == verdict:
                    said.setdefault(result["message"].partition("\n")[0], []).append(name)
            if said:
                hosts = [name for names in said.values() for name in names]
                rows.append({"verdict": verdict, "control": control, "hosts": hosts, "said": said})
    return rows


def render(evidence: dict) -> str:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(duration=duration, days=days)
    # short names for attributes and selectors, so that nothing from the inventory gets into CSS
    short = {name: f"h{number}" for number, name in enumerate(evidence["hosts"])}
    given: dict[str, list[str]] = {name: [] for name in evidence["controls"]}
    has: dict[str, set[str]] = {name: set() for name in evidence["controls"]}
    for host_name, host in evidence["hosts"].items():
        for name, result in host["results"].items():
            given[name].append(result["verdict"])
            has[name] |= {result["verdict"], f"{short[host_name]}-{result['verdict']}"}
    roles: dict[str, list[str]] = {}
    for name, control in evidence["controls"].items():
        roles.setdefault(control["role"], []).append(name)
        has.setdefault(control["role"], set()).update(has[name])
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        evidence=evidence,
        run=evidence["run"],
        controls=evidence["controls"],
        hosts=evidence["hosts"],
        roles=roles,
        h=short,
        c={name: f"c{number}" for number, name in enumerate(evidence["controls"])},
        r={name: f"r{number}" for number, name in enumerate(roles)},
        attention=_attention(evidence),
        unreachable={name: host for name, host in evidence["hosts"].items() if host["reachable"] is False},
        changes=_changes(evidence),
        before={
            (change["host"], change["control"]): change["before"] for change in evidence["changes"] if change["before"]
        },
        started=datetime.datetime.fromisoformat(evidence["run"]["started"]).strftime("%-d %B %Y, %H:%M UTC"),
        has={name: " ".join(sorted(marks)) for name, marks in has.items()},
        tally={name: count(verdicts) for name, verdicts in given.items()},
        verdicts=VERDICTS,
        glyphs=GLYPHS,
        words=WORDS,
        soon=SOON,
    )
