# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes evidence of what the tests saw: one verdict per control and host, and what changed since the last time.

The document is described in docs/evidence.md and docs/evidence.schema.json.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

FORMAT = "rampart.hardening/evidence/1"
VERDICTS = ("pass", "fail", "waived", "na", "error")
WORST_FIRST = ("error", "fail", "pass", "na")  # of several tests of one control
LONGEST = 4000  # characters of one thing seen
SECRETS = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"
    r"|\$(?:1|2[abxy]?|5|6|7|md5|y|gy|sha1|sm3|argon2\w*)\$[^\s:'\"]+",
    re.DOTALL,
)
# XML 1.0 has no place for these, and nobody wants them on a terminal
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Text as it may be kept: no key material, no password hash, no control characters, not endless."""
    text = CONTROL_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", SECRETS.sub("[removed]", text))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… {len(text) - LONGEST} more characters"


def _result(control: str, tests: list[dict], waivers: list[dict]) -> dict:
    if tests:
        worst = min(tests, key=lambda test: WORST_FIRST.index(test["observed"]))
        observed, message = worst["observed"], worst["message"]
    else:
        observed, message = "error", "no test reported on this control"
    valid = [waiver for waiver in waivers if waiver["control"] == control and not waiver["expired"]]
    verdict = "waived" if valid and observed in ("pass", "fail") else observed
    return {
        "verdict": verdict,
        "observed": observed,
        "message": clean(message),
        "seen": [clean(seen) for test in tests for seen in test["seen"]],
        "duration": round(sum(test["duration"] for test in tests), 3),
    }


def count(verdicts: list[str]) -> dict[str, int]:
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def _changes(hosts: dict, controls: dict, previous: dict, everything: bool) -> list[dict]:
    """What has another verdict than last time; what is gone is only told of when nothing was left out on purpose."""
    before = {
        (host, control): result["verdict"]
        for host, entry in previous["hosts"].items()
        for control, result in entry["results"].items()
    }
    after = {
        (host, control): result["verdict"]
        for host, entry in hosts.items()
        for control, result in entry["results"].items()
    }
    names = set(after) | (set(before) if everything else set())
    order = {name: number for number, name in enumerate(dict.fromkeys([*hosts, *previous["hosts"], *controls]))}
    return [
        {"host": host, "control": control, "before": before.get((host, control)), "after": after.get((host, control))}
        for host, control in sorted(names, key=lambda name: (order[name[0]], order.get(name[1], len(order)), name))
        if before.get((host, control)) != after.get((host, control))
    ]


def build(
    run: dict, hosts: dict[str, dict], controls: dict[str, dict], results: list[dict], previous: dict | None = None
) -> dict:
    """The evidence document.

    *hosts*: name → {groups, level, test: [ids], waivers: [those that cover it]}; *results*: what the tests wrote.
    """
    tests: dict[tuple[str, str], list[dict]] = {}
    reached: dict[str, dict] = {}
    for result in results:
        tests.setdefault((result["host"], result["control"]), []).append(result)
        if result["reachable"]:
            reached[result["host"]] = result["facts"]
    told: dict[str, dict] = {}
    waivers: list[dict] = []
    for name, host in hosts.items():
        for waiver in host["waivers"]:
            if waiver["control"] not in host["test"]:
                continue
            known = next((known for known in waivers if all(known[key] == waiver[key] for key in waiver)), None)
            if known is None:
                known = {**waiver, "applies_to": []}
                waivers.append(known)
            known["applies_to"].append(name)
        answers = {
            control: _result(control, tests.get((name, control), []), host["waivers"]) for control in host["test"]
        }
        problem = next(
            (
                test["message"]
                for key, group in tests.items()
                if key[0] == name
                for test in group
                if test["observed"] == "error"
            ),
            "",
        )
        told[name] = {
            "groups": host["groups"],
            "level": host["level"],
            "reachable": name in reached if host["test"] else None,  # nobody asked
            "problem": "" if name in reached else clean(problem),
            "facts": reached.get(name, {}),
            "summary": count([answer["verdict"] for answer in answers.values()]),
            "results": answers,
        }
    tested = {control for host in hosts.values() for control in host["test"]}
    summary = count([answer["verdict"] for host in told.values() for answer in host["results"].values()])
    return {
        "format": FORMAT,
        "run": {**run, "previous": previous["run"]["id"] if previous else None},
        "verdict": "compliant" if not summary["fail"] and not summary["error"] and tested else "not compliant",
        "summary": {"hosts": len(told), "controls": len(tested), **summary},
        "controls": {
            name: {"may_break": "", **{key: value for key, value in control.items() if key != "id"}}
            for name, control in controls.items()
            if name in tested
        },
        "hosts": told,
        "waivers": sorted(waivers, key=lambda waiver: (waiver["days_left"], waiver["control"])),
        "changes": _changes(told, controls, previous, not any(run["filters"].values())) if previous else [],
    }


def junit(evidence: dict) -> bytes:
    """The same for CI systems: a suite per host, a case per control. Waived and not applicable count as skipped."""
    totals = evidence["summary"]
    root = ElementTree.Element(
        "testsuites",
        name="rampart.hardening.verify",
        failures=str(totals["fail"]),
        errors=str(totals["error"]),
        time=str(evidence["run"]["duration"]),
    )
    for name, host in evidence["hosts"].items():
        counts = host["summary"]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(host["results"])),
            failures=str(counts["fail"]),
            errors=str(counts["error"]),
            skipped=str(counts["waived"] + counts["na"]),
            timestamp=evidence["run"]["started"],
            time=str(round(sum(r["duration"] for r in host["results"].values()), 3)),
        )
        for control, result in host["results"].items():
            case = ElementTree.SubElement(suite, "testcase", name=control, classname=name, time=str(result["duration"]))
            words = {"fail": "failure", "error": "error", "waived": "skipped", "na": "skipped"}.get(result["verdict"])
            if words:
                about = result["message"]
                if result["verdict"] == "waived":
                    about = f"waived; seen: {result['observed']} {about}".strip()
                ElementTree.SubElement(case, words, message=about)
            if result["seen"]:
                ElementTree.SubElement(case, "system-out").text = "\n".join(result["seen"])
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def table(evidence: dict) -> list[str]:
    """The summary for a terminal."""
    width = max([len("host"), *map(len, evidence["hosts"])])
    lines = [f"{'host':<{width}}  " + "".join(f"{verdict:>8}" for verdict in VERDICTS)]
    for name, host in evidence["hosts"].items():
        line = f"{name:<{width}}  " + "".join(f"{host['summary'][verdict] or '-':>8}" for verdict in VERDICTS)
        lines.append(line + ("   not reachable" if host["reachable"] is False else ""))
    return lines


def few(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def complaints(evidence: dict) -> list[str]:
    """One line for each control that is not as it should be, with the hosts."""
    lines = []
    for verdict in ("fail", "error"):
        for control in evidence["controls"]:
            names = [
                name
                for name, host in evidence["hosts"].items()
                if host["results"].get(control, {}).get("verdict") == verdict
                and (verdict == "fail" or host["reachable"])
            ]
            if names:
                lines.append(f"{verdict} {control}: {few(names)}")
    lines += [
        f"error {name}: {host['problem']}" for name, host in evidence["hosts"].items() if host["reachable"] is False
    ]
    lines += [
        f"expired waiver of {waiver['control']} ({waiver['owner']}, {waiver['until']}): {few(waiver['applies_to'])}"
        for waiver in evidence["waivers"]
        if waiver["expired"]
    ]
    return lines
