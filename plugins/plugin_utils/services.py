# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host may run and who may use cron, given what the survey found there: pure policy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.rampart.hardening.plugins.module_utils import survey_services as seen

KEYS = ("port", "proto", "program", "hosts", "reason")
DHCP_CLIENT = {("udp", 68), ("udp", 546)}
# Why a server that nobody outside asks may be needed on the host itself
NEEDS = {
    "bind9": ["resolver"],
    "dnsmasq": ["resolver"],
    "slapd": ["nss ldap", "nss sss"],
    "ypserv": ["nss nis", "nss compat"],
    "rpcbind": ["nfs mounts", "nss nis", "nss compat"],
    "statd": ["nfs mounts"],
    "autofs": ["automounts"],
    "dovecot": ["mail server"],
}
# A server of these on loopback alone may stand behind another one of this host
BACKENDS = ("slapd", "squid", "apache2", "lighttpd", "nginx", "inetd")
NOT_STOPPED = 'if systemctl is-active --quiet "$@"; then exit 1; fi'
START = (
    'failed=0; for unit; do systemctl cat "$unit" >/dev/null 2>&1 || continue; systemctl start "$unit" || failed=1; '
    "done; exit $failed"
)
# Each process of these units has more system call filters than PID 1, that is those of its sandbox
LIVE = (
    "count() { sed -n 's/^Seccomp_filters:[[:space:]]*//p' /proc/$1/status; }; base=$(count 1); for unit; do "
    'pid=$(systemctl show --property=MainPID --value "$unit"); [ "$pid" = 0 ] && continue; found=$(count "$pid"); '
    '[ "${found:-1}" -gt "${base:-0}" ] || exit 1; done'
)


def ports_of(entry: Mapping) -> list[tuple[int, int]]:
    """The ranges of an entry of the allow-list; ValueError where they make no sense."""
    given = entry.get("port")
    found = []
    for value in given if isinstance(given, (list, tuple)) else [given] if given is not None else []:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value))
        if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]) <= 65535:
            raise ValueError(f"{value!r} is no port and no range such as 8000-8100")
        found.append((int(match[1]), int(match[2] or match[1])))
    return found


class Allowed:
    """What may listen: the flows that lead to the host, and the allow-list. `wrong` says what nobody understands."""

    def __init__(self, rules: Iterable[Mapping], entries: Iterable[Mapping], names: Iterable[str]):
        self.ranges = [(rule["proto"], *span) for rule in rules if rule["proto"] != "icmp" for span in rule["ports"]]
        self.programs: set[str] = set()
        self.wrong: list[str] = []
        here = {*names, "all"}
        for number, entry in enumerate(entries, 1):
            where = f"hardening_services, entry {number}"
            try:
                spans = ports_of(entry)
            except ValueError as error:
                self.wrong.append(f"{where}: {error}")
                continue
            unknown = sorted(set(entry) - set(KEYS))
            proto = entry.get("proto") or "tcp"
            hosts = entry.get("hosts") or ["all"]
            if unknown:
                self.wrong.append(f"{where}: unknown key {unknown[0]!r}")
            elif proto not in ("tcp", "udp"):
                self.wrong.append(f"{where}: proto is tcp or udp, not {proto!r}")
            elif not spans and not entry.get("program"):
                self.wrong.append(f"{where}: neither port nor program")
            elif here & set([hosts] if isinstance(hosts, str) else hosts):
                self.ranges += [(proto, *span) for span in spans]
                self.programs |= {str(entry["program"])} if entry.get("program") else set()

    def port(self, proto: str, port: int) -> bool:
        return any(kind == proto and first <= port <= last for kind, first, last in self.ranges)

    def socket(self, entry: Mapping) -> bool:
        # the kernel keeps 15 characters of a process's name
        names = {entry["process"], entry["unit"].rpartition(".")[0], entry["unit"]} - {""}
        return self.port(entry["proto"], entry["port"]) or bool(
            names & ({p[:15] for p in self.programs} | self.programs)
        )


def show(entry: Mapping) -> str:
    unit = f" ({entry['unit']})" if entry["unit"] else ""
    return f"{entry['port']}/{entry['proto']} {entry['process'] or 'of an unknown process'}{unit}"


def undeclared(survey: Mapping, allowed: Allowed) -> list[str]:
    """What waits for strangers though neither a flow nor the allow-list knows of it."""
    found = [
        show(entry)
        for entry in survey["listening"]
        if not entry["loopback"] and (entry["proto"], entry["port"]) not in DHCP_CLIENT and not allowed.socket(entry)
    ]
    return list(dict.fromkeys(found))


def judge(survey: Mapping, allowed: Allowed, connected: int, address: str) -> dict[str, dict]:
    """Of each unneeded server that is there its units, and why it is kept (`declared`) or left alone (`used`)."""
    found = {}
    for name, (units, packages, ports) in seen.SERVERS.items():
        there = {unit: survey["servers"][unit] for unit in units.split() if unit in survey["servers"]}
        if not there:
            continue
        sockets = [entry for entry in survey["listening"] if entry["unit"] in there]
        own = {(entry["proto"], entry["port"]) for entry in sockets}
        usual = {(proto, int(port)) for proto, port in (text.split("/") for text in ports.split())}
        words = {name, *packages.split(), *there, *(unit.rpartition(".")[0] for unit in there)}
        declared = bool(words & allowed.programs) or any(allowed.socket(entry) for entry in sockets)
        declared = declared or any(allowed.port(*one) for one in usual)
        active = [unit for unit, facts in there.items() if facts["active"]]
        used = []
        if active:
            if ("tcp", connected) in own:
                used.append("our own connection")
            # a port of another unit has nothing to do with this one
            others = {(entry["proto"], entry["port"]) for entry in survey["listening"] if entry["unit"]} - own
            talking = {port for proto, port in (own | usual) - others if proto == "tcp"} & set(survey["established"])
            used += [f"connections to port {port}" for port in sorted(talking)]
            used += [need for need in NEEDS.get(name, []) if need in survey["uses"]]
            if name == "avahi" and address.rstrip(".").endswith(".local"):
                used.append(f"the name {address}")
            if name == "xserver":
                used.append("its screen")
            if name in BACKENDS and sockets and all(entry["loopback"] for entry in sockets):
                used.append("this host alone, by loopback")
        found[name] = {"units": there, "declared": declared, "active": active, "used": used}
    while True:  # whoever needs a server goes with it, or keeps it
        going = {
            unit for facts in found.values() if not facts["declared"] and not facts["used"] for unit in facts["units"]
        }
        kept = {
            name: users
            for name, facts in found.items()
            if not facts["used"]
            and (users := sorted({u for unit in facts["active"] for u in facts["units"][unit]["users"]} - going))
        }
        if not kept:
            return found
        for name, users in kept.items():
            found[name]["used"] = users


def unneeded(survey: Mapping, judged: Mapping, policy: bool) -> tuple[list[str], list[str], list[str]]:
    """(units to mask, those of them to stop, notes)."""
    mask, stop, notes = [], [], []
    for name, facts in judged.items():
        if facts["declared"]:
            continue
        if facts["active"] and not policy:
            notes.append(f"{name} runs; neither hardening_flows nor hardening_services say whether it should")
        elif facts["used"]:
            notes.append(f"{name} is left running, it is used by {', '.join(facts['used'])}; nothing declares it")
        else:
            own = [unit for unit, unit_facts in facts["units"].items() if unit_facts["own"]]
            notes += [f"{unit} is a unit of this site's own ({seen.UNITS}/{unit}) and left alone" for unit in own]
            wanted = [
                unit for unit, known in facts["units"].items()
                if not known["own"] and (not known["masked"] or unit in survey["masked"])
            ]  # fmt: skip
            mask += wanted
            stop += [unit for unit in wanted if unit in facts["active"]]
    return mask, stop, notes


def purge(survey: Mapping, judged: Mapping, allowed: Allowed) -> tuple[list[str], list[str]]:
    """(packages that may go, notes on those that others need)."""
    wanted = set()
    for name, (__, packages, ___) in seen.SERVERS.items():
        facts = judged.get(name, {"declared": name in allowed.programs, "used": []})
        if not facts["declared"] and not facts["used"]:
            wanted |= set(packages.split())
    for name, packages in seen.CLIENTS.items():
        if not {name, *packages.split()} & allowed.programs:
            wanted |= set(packages.split())
    wanted &= set(survey["packages"])
    going = set(wanted)
    while stuck := {name for name in going if set(survey["packages"][name]) - going}:
        going -= stuck
    notes = [f"{name} stays, {', '.join(survey['packages'][name])} needs it" for name in sorted(wanted - going)]
    return sorted(going), notes


def stricter(facts: Mapping, mode: int) -> bool:
    return facts["uid"] == 0 and not int(facts["mode"], 8) & ~mode


def cron_files(survey: Mapping) -> tuple[list[dict], list[str]]:
    """The files and directories of cron that others than root may read."""
    files, notes = [], []
    for path, facts in survey["cron"].items():
        mode = 0o700 if facts["kind"] == "directory" else 0o600
        if facts["kind"] == "other":
            notes.append(f"{path} is a link and left alone")
        elif not stricter(facts, mode):
            entry = {"path": path, "mode": f"{mode & int(facts['mode'], 8):04o}"}
            # it exists and keeps its content
            files.append({**entry, **({"state": "directory"} if mode == 0o700 else {"generate": ["false"]})})
    return files, notes


def list_file(name: str, facts: Mapping, wanted: Sequence[str], closed: Iterable[str]) -> tuple[list[dict], list[str]]:
    """Who may use cron or at: a site's own list is kept, and whoever has jobs today stays on a new one."""
    path, text = f"/etc/{name}.allow", facts["text"]
    base = {"path": path, "mode": "0640", "group": facts["group"]}
    if not facts["installed"] or facts["facts"].get("kind", "file") != "file":
        return [], [f"{path} is a link and left alone"] if facts["installed"] else []
    ours = text.startswith(seen.MARK)
    if facts["facts"] and not ours:
        missing = [user for user in wanted if user not in text.split()]
        if not missing:
            return [{**base, "generate": ["false"]}], []
        return [{**base, "content": "\n".join([*text.splitlines(), *missing, ""])}], [
            f"{path} is of this site and kept"
        ]
    if ours:
        before = text.partition(seen.ADOPTED)[2].split()
        adopted = [user for user in before if user in facts["known"]]
    else:
        adopted = [user for user in facts["users"] if user not in facts["denied"]]
    adopted = [user for user in adopted if user not in {*closed, *wanted, "root"}]
    lines = [f"{seen.MARK} Do not edit: change the inventory.", *dict.fromkeys(["root", *wanted])]
    lines += [f"{seen.ADOPTED} (rampart.hardening)", *adopted] if adopted else []
    notes = [] if ours else [f"{user} has jobs of {name} and may go on to change them" for user in adopted]
    return [{**base, "content": "\n".join([*lines, ""])}], notes


def boxes(
    survey: Mapping, ssh_valid: bool, controls: Iterable[str], options: Mapping, restart: Iterable[str]
) -> tuple[list[dict], list[str], list[str], list[str]]:
    """(drop-ins, units to restart, units that have to be sandboxed afterwards, notes)."""
    files, due, live, notes = [], [], [], []
    for unit, facts in survey["sandbox"].items():
        name = unit.partition(".")[0]
        path = f"{seen.UNITS}/{unit}.d/{seen.SANDBOX}"
        wanted = dict(options[name])
        if f"services.sandbox_{name}" not in controls or not survey["capable"]:
            wanted = {}
        elif name == "ssh" and not ssh_valid or name == "nginx" and not survey["nginx"].get("valid"):
            notes.append(f"{unit} is not sandboxed: its configuration is broken, so that it may not be restarted")
            continue
        elif name == "mariadb" and survey["pam"]:
            notes.append(f"{unit} is not sandboxed: it asks PAM with a helper that needs root")
            continue
        if name == "nginx" and wanted:
            hidden = {"tmp": "PrivateTmp", "home": "ProtectHome", "devices": "PrivateDevices"}
            wanted = {
                key: value for key, value in wanted.items()
                if not any(survey["nginx"][word] and key == hides for word, hides in hidden.items())
            }  # fmt: skip
        kept = {key: facts["set"][key] for key in wanted if key in facts["set"]}
        notes += [f"{unit}: {key} stays as {where} has it" for key, where in kept.items()]
        wanted = {key: value for key, value in wanted.items() if key not in kept}
        lines = [f"{seen.MARK} Do not edit: change the inventory.", "[Service]"]
        text = "\n".join([*lines, *(f"{key}={value}" for key, value in wanted.items()), ""]) if wanted else ""
        if text:
            files.append({"path": path, "content": text})
        elif facts["text"]:
            files.append({"path": path, "state": "absent"})
        may = name in restart
        if facts["pid"] and (text != facts["text"] or (text and not facts["live"])):
            due += [unit] if may else []
            notes += [] if may else [f"{unit} gets its sandbox when it is next restarted"]
        live += [unit] if text and may else []
    return files, due, live, notes


def plan(
    survey: Mapping,
    controls: Sequence[str] = (),
    rules: Iterable[Mapping] = (),
    allowed: Sequence[Mapping] = (),
    names: Sequence[str] = (),
    address: str = "",
    cron_users: Sequence[str] = (),
    closed: Sequence[str] = (),
    sandbox: Mapping | None = None,
    restart: Sequence[str] = (),
) -> dict:
    """`change`, the arguments of the confirmed change; `purge`, packages that may go; `undeclared`, what listens."""
    found, rules = survey["services"], list(rules)
    may = Allowed(rules, allowed, names)
    judged = judge(found, may, int(survey["system"]["connection"].get("port") or 0), str(address))
    files, notes, mask, stop = [], [], [], []
    if "services.cron_permissions" in controls:
        more, said = cron_files(found)
        files, notes = files + more, notes + said
    for name, facts in found["lists"].items():
        if "services.cron_allow" in controls:
            more, said = list_file(name, facts, list(map(str, cron_users)), closed)
            files, notes = files + more, notes + said
        elif facts["text"].startswith(seen.MARK):
            files.append({"path": f"/etc/{name}.allow", "state": "absent"})
    if "services.unneeded_servers" in controls:
        mask, stop, said = unneeded(found, judged, bool(may.ranges or may.programs))
        notes += [*said, *([f"stops {', '.join(stop)}, which nothing declares"] if stop else [])]
    undeclared_now = undeclared(found, may)
    if "services.listening" in controls:
        notes += [f"nothing declares {one}" for one in undeclared_now if not any(f"({unit})" in one for unit in stop)]
    if mask:
        text = "\n".join([f"{seen.MARK} Units that it masked.", *mask, ""])
        files.append({"path": seen.MASKED, "content": text})
        files += [{"path": f"{seen.UNITS}/{unit}", "state": "link", "target": "/dev/null"} for unit in mask]
    free = [unit for unit in found["masked"] if unit not in mask]
    files += [
        {"path": f"{seen.UNITS}/{unit}", "state": "absent"}
        for unit in free if found["servers"].get(unit, {}).get("masked")
    ]  # fmt: skip
    if found["masked"] and not mask:
        files.append({"path": seen.MASKED, "state": "absent"})
    more, due, live, said = boxes(found, survey["ssh"].get("valid", False), controls, sandbox or {}, restart)
    files, notes = files + more, notes + said
    units = any(entry["path"].startswith(seen.UNITS) for entry in files)
    reload = [["systemctl", "daemon-reload"]] if units and survey["system"]["init"] == "systemd" else []
    again = [["systemctl", "try-restart", unit] for unit in due]
    going, said = purge(found, judged, may)
    return {
        "change": {
            "refuse": may.wrong,
            "notes": notes,
            "files": files,
            "validate": [
                *([["sshd", "-t"]] if "ssh.service" in due else []),
                *([["nginx", "-t", "-q"]] if "nginx.service" in due else []),
            ],
            "active": [
                *([["sh", "-c", NOT_STOPPED, "-", *mask]] if mask and reload else []),
                *([["sh", "-c", LIVE, "-", *live]] if live and reload else []),
            ],
            "activate": [
                *reload,
                *([["systemctl", "stop", *stop]] if stop and reload else []),
                *([["sh", "-c", START, "-", *free]] if free and reload else []),
                *again,
            ],
            "revert": [
                *reload,
                *([["sh", "-c", START, "-", *stop]] if stop and reload else []),
                *again,
            ],
        },
        "purge": going,
        "stays": said,
        "undeclared": undeclared_now,
    }
