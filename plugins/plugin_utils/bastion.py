# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a jump server lets through and to whom it gives a shell: policy and survey in, files and reasons out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

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
}
WANTED = "/etc/systemd/system/multi-user.target.wants/rampart-passages.service"
LOOPBACK = re.compile(r"127\.|::1$|localhost$")
SUDOERS = ["visudo", "-cf", "%s"]


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


def plan(
    survey: Mapping,
    permitted: list[str],
    shells: Iterable[str] = (),
    spared: Iterable[str] = (),
    mfa: bool = True,
) -> dict:
    """Who is treated how, for the templates; under `refuse` why the host must be left alone.

    `spared` are the accounts of machines, which log in as before, `mfa` whether a second factor is asked for here.
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
    return {
        "refuse": refuse,
        "version": sshd["version"],
        "permitted": permitted,
        "shells": shells,
        "spared": spared,
        "notes": [f"keep the command that this host forces on them: {', '.join(forced)}"] if forced else [],
    }


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
    ]  # fmt: skip
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
    return {
        "refuse": [*plan["refuse"], *found["refuse"], *widened],
        "notes": [*plan["notes"], *(f"overrides {one}" for one in found["overridden"])],
        "files": files,
        "validate": [["visudo", "-c"], *ssh.validation(survey["ssh"])],
        "active": [*live["active"], *([["systemctl", "is-active", "--quiet", service]] if systemd else [])],
        "activate": [*live["activate"], *([start] if systemd else [])],
        "revert": [*live["activate"], *([stop] if systemd else [])],
    }
