# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a jump server lets through and to whom it gives a shell: policy and survey in, files and reasons out."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.rampart.hardening.plugins.module_utils.survey_fail2ban import OUR_JAIL
from ansible_collections.rampart.hardening.plugins.module_utils.survey_ssh import BASTION_DROPIN
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows, ssh
from ansible_collections.rampart.hardening.plugins.plugin_utils.mfa import NAME, words

MOST_PORTS = 64  # of one range: sshd knows single ports only
SHELL = "/usr/local/lib/rampart/shell"
READER = "/usr/local/lib/rampart/passages"
FILES = {
    "shell": (SHELL, "0755"),
    "reader": (READER, "0644"),
    "sudoers": ("/etc/sudoers.d/rampart-bastion", "0440"),
    "unit": ("/etc/systemd/system/rampart-passages.service", "0644"),
    "scope": ("/etc/systemd/system/session-.scope.d/rampart-bastion.conf", "0644"),
    "tmpfiles": ("/etc/tmpfiles.d/rampart-bastion.conf", "0644"),
    "logrotate": ("/etc/logrotate.d/rampart-bastion", "0644"),
    "jail": (OUR_JAIL, "0644"),
}
WANTED = "/etc/systemd/system/multi-user.target.wants/rampart-passages.service"
LOOPBACK = re.compile(r"127\.|::1$|localhost$")
SUDOERS = ["visudo", "-cf", "%s"]
PENALTIES = [9, 8]  # the OpenSSH that makes addresses wait by itself
WATCHED = 600  # seconds within which failures count
GROWTH = 24  # how many times as long an address is shut out at most that comes back again and again
WEEK = 7 * 24 * 3600  # a ban of the site's that is longer shuts people out for good
LOCAL = ("127.0.0.0/8", "::1")
YES = ("true", "yes", "on", "1")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": WEEK}


def destinations(
    declared: object,
    host: str,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping],
    controllers: Iterable[object] = (),
    jump_groups: Iterable[str] = ("jump",),
) -> list[str]:
    """What connections may be opened to from the jump server `host`, as sshd's PermitOpen has it.

    A host is listed under every name that a client may ask for: its inventory name and all of its addresses. FlowError
    where the flows are wrong, a range of ports is too wide to be listed, or Ansible would lose hosts.
    """

    def spelled(name: str) -> list[str]:
        own = hostvars[name].get("hardening_addresses") or []
        # A loopback address is a forwarded port on the controller; from here it would be this jump server itself
        listed = [str(one) for one in [name, hostvars[name].get("ansible_host"), *words(own)] if one]
        return [one for one in listed if not LOOPBACK.match(one)]

    inventory = flows.inventory(groups, hostvars, controllers)
    jumps = {host, *(name for group in jump_groups for name in inventory.members(group))}
    parsed = flows.parse(declared, inventory)
    if lost := unreached(parsed, jumps, hostvars, inventory):
        raise flows.FlowError(
            f"no flow opens the SSH port of {', '.join(lost)} to a jump server or to the controllers: Ansible would "
            "not get there any more. Add to hardening_flows: {from: jump, to: …, port: …}"
        )
    found = []
    for flow in parsed:
        if flow.proto != "tcp" or not inventory.covers(flow.sources, host):
            continue
        ports = [port for first, last in flow.ports for port in range(first, min(last, first + MOST_PORTS) + 1)]
        if any(last - first >= MOST_PORTS for first, last in flow.ports):
            raise flows.FlowError(
                f"{flow.where}: {flows.show_ports(flow.ports)} is more than a jump server can list, {MOST_PORTS} ports "
                "of a range: name the ports that people pass through to"
            )
        targets = sorted({name for end in flow.destinations for name in inventory.members(end.name)} - {host})
        found += [
            f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
            for target in targets
            for name in spelled(target)
            for port in ports
        ]
    return list(dict.fromkeys(found))


def unreached(
    parsed: list[flows.Flow], jumps: set[str], hostvars: Mapping[str, Mapping], inventory: flows.Inventory
) -> list[str]:
    """The hosts (name:port) whose SSH port is opened neither to a jump server nor to the controllers."""
    found = []
    for name in sorted(inventory.hosts - jumps):
        if str(hostvars[name].get("ansible_connection") or "ssh").rpartition(".")[2] not in ("ssh", "smart"):
            continue
        port = int(hostvars[name].get("ansible_port") or 22)
        opened = [
            flow.sources
            for flow in parsed
            if flow.proto == "tcp"
            and any(first <= port <= last for first, last in flow.ports)
            and inventory.covers(flow.destinations, name)
        ]
        # an address or a network may be a controller's
        if not any(
            any(end.kind != "name" for end in sources) or any(inventory.covers(sources, jump) for jump in jumps)
            for sources in opened
        ):
            found.append(f"{name}:{port}")
    return found


def forced_by_site(survey: Mapping) -> list[str]:
    """The accounts for which the site itself forces a command, as for partners with SFTP: they have no shell anyway."""
    names = set()
    for one in ssh.of_site(survey["ssh"]["config"], "forcecommand"):
        # with a further condition they would have a shell where it does not hold
        if one["value"].lower() == "none" or not re.fullmatch(r"(?i)match\s+(user|group)[\s=]+\S+", one["match"]):
            continue
        for kind, pattern in re.findall(r"(?i)\b(user|group)[\s=]+(\S+)", one["match"]):
            for word in pattern.split(","):
                names |= {word} if kind.lower() == "user" else set(survey["accounts"]["groups"].get(word, []))
    return sorted(name for name in names if NAME.fullmatch(name))


def duration(text: str) -> int:
    """A time as fail2ban has it (600, 10m, 1h 30m); 0 where it never ends, or means something else."""
    parts = re.fullmatch(r"(\s*\d+\s*[smhdw]?)+\s*", text)
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)\s*([smhdw]?)", text)) if parts else 0


def networks(texts: Iterable[object]) -> list:
    """The addresses and networks among these; fail2ban takes names too."""
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            found.append(ipaddress.ip_network(str(text), strict=False))
    return found


def jail(survey: Mapping, tries: int, seconds: int, never: Iterable[object]) -> tuple[dict, list[str]]:
    """What our file sets in fail2ban's jail sshd, and notes; a limit of the site's own that is stricter stays.

    There is nothing to set where the site's own jail is as strict.
    """
    own, there, sshd = survey["fail2ban"]["own"], survey["fail2ban"]["installed"], survey["ssh"]
    ports = [str(port) for port in sshd["ports"] or sshd["effective"].get("port") or [22]]  # an image listens to none
    acts = not {"action", "banaction"}.isdisjoint(own)
    site = survey["fail2ban"]["settings"] if own else {}  # what packages bring is nobody's decision
    ignored = site.get("ignoreip", "").replace(",", " ").split()
    theirs = {"maxretry": int(site["maxretry"]) if site.get("maxretry", "").isdigit() else 0}
    theirs |= {key: duration(site.get(key, "")) for key in ("findtime", "bantime")}
    longest = duration(site.get("bantime.maxtime", ""))
    found = {
        "maxretry": theirs["maxretry"] if 0 < theirs["maxretry"] < tries else tries,
        "findtime": max(theirs["findtime"], WATCHED),
        "bantime": theirs["bantime"] if seconds < theirs["bantime"] <= WEEK else seconds,
    }
    if (
        "enabled" in own
        and site["enabled"].lower() in YES
        and found == theirs
        and re.search("aggressive|ddos", site.get("filter", "").replace("%(mode)s", site.get("mode", "")))
        and all(any(one.version == net.version and one.subnet_of(net) for net in networks(ignored))
                for one in networks(never))
        and set(ports) <= set(site.get("port", "").replace("ssh", "22" if "netbase" in there else "ssh").split(","))
        and (acts or "iptables" in there)  # what Debian's jails use unless they are told
        and (site.get("bantime.increment", "").lower() not in YES or 0 < longest <= WEEK)
    ):
        return {}, ["the jail sshd that this site has in fail2ban is as strict as ours, and stays as it is"]
    lost = [key for key in theirs if key in own and found[key] != theirs[key]]
    lost += [key for key in ("filter", "mode", "port") if key in own]
    most = found["bantime"] * GROWTH
    return {
        **found,
        "maxtime": longest if most < longest <= WEEK else min(most, WEEK),
        "ports": ports,
        "ignoreip": list(dict.fromkeys([*LOCAL, *map(str, never), *ignored])),
        "action": not acts,  # what the site does to an address, it goes on doing
    }, [f"overrides {own[key]}: {key} of the jail sshd" for key in lost]


def plan(
    survey: Mapping,
    permitted: list[str],
    shells: Iterable[str] = (),
    spared: Iterable[str] = (),
    mfa: bool = True,
    bans: Mapping | None = None,
) -> dict:
    """Who is treated how, for the templates; under `refuse` why the host must be left alone.

    `spared` are the accounts of machines, which log in as before, `mfa` whether a second factor is asked for here,
    `bans` the arguments of :func:`jail` where addresses that fail are to be shut out.
    """
    refuse, sshd = [], survey["ssh"]
    forced = forced_by_site(survey)
    shells, spared = sorted(set(shells) - set(spared)), sorted({*spared, *forced})
    odd = [name for name in (*shells, *spared) if not NAME.fullmatch(name)]
    if odd:
        refuse.append(f"not names that sshd can be told: {', '.join(map(repr, odd))}")
    if not sshd["installed"]:
        refuse.append("there is no SSH server: nobody can pass through this host")
    if not survey["accounts"]["sudo"]:
        refuse.append("sudo, which records sessions, is not there: run the role admin_accounts first")
    if not mfa:
        refuse.append(
            "a jump server always asks for a second factor: the control mfa.ssh has to be in force here, and ssh in "
            "hardening_mfa_services"
        )
    notes = [f"keep the command that this host forces on them: {', '.join(forced)}"] if forced else []
    fail2ban, ours, lacks = bool(bans) and sshd["installed"] and sshd["version"] < PENALTIES, {}, []
    if fail2ban and not survey["firewall"]["capable"]:
        fail2ban = False
        notes.append("this container may not filter packets (no CAP_NET_ADMIN): addresses that fail are not shut out")
    if fail2ban:
        odd = [str(one) for one in bans["never"] if not networks([one])]
        refuse += [f"bastion_never_banned: {one!r} is no address or network" for one in odd]
        ours, said = jail(survey, **bans)
        notes += said
        there = [*survey["fail2ban"]["installed"], *(["nftables"] if survey["firewall"]["nft"] else [])]
        lacks = [name for name in ("fail2ban", "nftables", "python3-systemd") if name not in there]
    return {
        "refuse": refuse,
        "version": sshd["version"],
        "permitted": permitted,
        "shells": shells,
        "spared": spared,
        "notes": notes,
        "fail2ban": fail2ban,
        "jail": ours,
        "packages": lacks,
    }


# fail2ban says that it has started before it knows whether it can
WATCH = """
systemctl enable --quiet fail2ban.service && systemctl restart fail2ban.service || exit
for try in $(seq 50); do fail2ban-client status sshd >/dev/null 2>&1 && exit; sleep 0.2; done
tail -n 3 /var/log/fail2ban.log >&2
exit 1
"""
# Without our file fail2ban is as it was before us. Nobody whom it shut out for us is to find the door shut after that
LEAVE = f"""
command -v fail2ban-server >/dev/null || exit 0
[ ! -e {OUR_JAIL} ] || set -- restart
[ "$1" = restart ] || fail2ban-client unban --all >/dev/null 2>&1
exec systemctl "$@" fail2ban.service
"""


def watching(survey: Mapping, plan: Mapping) -> tuple[list, list, list]:
    """The commands for fail2ban: active, activate, revert."""
    seen = survey["fail2ban"]
    site, away = seen["running"] and (not seen["ours"] or "enabled" in seen["own"]), ["disable", "--now"]
    if not plan["fail2ban"]:  # any more: the waiver is new, or sshd is
        gone = [["sh", "-c", LEAVE, "leave", *(["restart"] if site else away)]] if seen["ours"] else []
        return [], gone, [["sh", "-c", WATCH]] if gone else []
    # Undoing several changes ends with what the first of them found
    before = ["restart"] if site else ["stop"] if seen["enabled"] or seen["ours"] else away
    leave = ["sh", "-c", LEAVE, "leave", *before]
    unit = "fail2ban.service"
    live = [["systemctl", "is-enabled", "--quiet", unit], ["systemctl", "is-active", "--quiet", unit]]
    return live, [["sh", "-c", WATCH]], [leave]


def change(survey: Mapping, plan: Mapping, sshd: str, contents: Mapping[str, str]) -> dict:
    """The arguments of the confirmed change. `contents` are the rendered files, by their names in FILES."""
    found = ssh.takeover(survey["ssh"], sshd, BASTION_DROPIN)
    widened = [
        f"{ssh.where(one)} limits where these may pass to, and the flows would widen it: take it out, or waive "
        "bastion.destinations"
        for one in ssh.of_site(survey["ssh"]["config"], "permitopen")
        if one["match"] and one["value"].lower() != "any" and "\nPermitOpen " in sshd
    ]
    files = [
        {"path": FILES[name][0], "content": text, "mode": FILES[name][1],
         **({"validate": SUDOERS} if name == "sudoers" else {})}
        for name, text in contents.items()
        if name != "jail" or plan["jail"]
    ]  # fmt: skip
    if not plan["jail"]:
        files.append({"path": OUR_JAIL, "state": "absent"})
    files += [
        {"path": "/var/log/sudo-io", "state": "directory", "mode": "0700"},
        {"path": "/var/log/rampart", "state": "directory", "mode": "0750", "group": "adm"},
        {"path": WANTED, "state": "link", "target": FILES["unit"][0]},
        {"path": BASTION_DROPIN, "content": sshd, "mode": "0600"},
    ]
    if found["main"]:
        files.append({**found["main"], "mode": survey["ssh"]["config"].get("mode", "0600")})
    live = ssh.activation(survey["ssh"], BASTION_DROPIN)
    service = "rampart-passages.service"
    start = ["sh", "-c", f"systemctl daemon-reload && systemctl restart {service}"]
    # stopped while systemd still knows how: the unit may be gone from the disk
    stop = ["sh", "-c", f"if [ -e {FILES['unit'][0]} ]; then {start[2]}; else systemctl stop {service}; "
                        "systemctl daemon-reload; fi"]  # fmt: skip
    systemd = survey["system"]["init"] == "systemd"
    active, activate, revert = watching(survey, plan) if systemd else ([], [], [])
    return {
        "refuse": [*plan["refuse"], *found["refuse"], *widened],
        "notes": [*plan["notes"], *(f"overrides {one}" for one in found["overridden"])],
        "files": files,
        "validate": [
            ["visudo", "-c"],
            *ssh.validation(survey["ssh"]),
            *([["fail2ban-client", "-t"]] if plan["fail2ban"] else []),
        ],
        "active": [*live["active"], *([["systemctl", "is-active", "--quiet", service]] if systemd else []), *active],
        "activate": [*live["activate"], *([start] if systemd else []), *activate],
        "revert": [*live["activate"], *([stop] if systemd else []), *revert],
    }
