# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of several roles ask of the live SSH server: what it grants each kind of login, and a real attempt."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import ipaddress
import itertools
import re
import shlex
import time
from collections.abc import Iterable

import pytest
from testinfra.host import Host

ELSEWHERE = ("192.0.2.77", "2001:db8::77")  # addresses of nobody (RFC 5737, RFC 3849)
MAX_LOGINS = 40
# How the listening daemon was started: its options count before every file
LISTENER = r"""
for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = sshd ] && tr '\0' ' ' <"$process/cmdline" 2>/dev/null && echo
done | sed -n 's/^sshd: \(.*\) \[listener\].*/\1/p' | head -n 1
"""


@dataclasses.dataclass(frozen=True)
class Login:
    """One kind of login, and what sshd grants it."""

    user: str
    address: str
    port: int
    settings: dict[str, str]

    def __str__(self) -> str:
        return f"{self.user} from {self.address}" + (f" at port {self.port}" if self.port != 22 else "")


@functools.cache
def command(host: Host) -> str:
    """sshd with the options under which it listens; empty where there is none."""
    found = host.run("command -v /usr/sbin/sshd || command -v sshd")
    words = host.check_output(LISTENER).split()[1:]
    options = [f"{flag} {shlex.quote(value)}" for flag, value in itertools.pairwise(words) if flag in ("-o", "-f")]
    return " ".join([found.stdout.strip(), *options]) if found.rc == 0 else ""


def parse(text: str) -> dict[str, str]:
    """What sshd -T or ssh -G says; values of a repeated keyword are joined by blanks."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        keyword, __, value = line.strip().partition(" ")
        settings[keyword] = f"{settings[keyword]} {value}" if keyword in settings else value
    return settings


@functools.cache
def server(host: Host) -> dict[str, str]:
    """The settings that hold before anybody is known."""
    # where a Match block names a LocalPort, sshd -T wants to be told one
    return parse(host.check_output(f"{command(host)} -T -C lport=65535"))


@functools.cache
def special(host: Host) -> tuple[set[str], set[str]]:
    """Users (those of groups too) and addresses that Match lines anywhere under /etc/ssh tell apart."""
    lines = host.run(r"grep -rhiE '^[[:space:]]*match[[:space:]]' /etc/ssh --include='*.conf' --include='sshd_config*'")
    users, groups, addresses = set(), set(), set()
    for attribute, pattern in re.findall(r"(?i)\b(user|group|address)[\s=]+(\S+)", lines.stdout):
        for value in pattern.split(","):
            if attribute.lower() == "address":
                with contextlib.suppress(ValueError):
                    addresses.add(str(ipaddress.ip_network(value.lstrip("!"), strict=False)[0]))
            elif re.fullmatch(r"[\w.-]+", value):
                (users if attribute.lower() == "user" else groups).add(value)
    if groups:
        for line in host.run(f"getent group {shlex.join(sorted(groups))}").stdout.splitlines():
            users.update(filter(None, line.rpartition(":")[2].split(",")[:3]))
    return users, addresses


def ask(host: Host, pairs: Iterable[tuple[str, str]]) -> list[Login]:
    """What sshd would grant these users from these addresses at each of its ports, in one round trip."""
    ports = sorted({port for _address, port in own_addresses(host)})
    asked = [(user, address, port) for user, address in dict.fromkeys(pairs) for port in ports]
    script = "; ".join(
        f"echo '== {user}'; {command(host)} -T -C user={user},host={address},addr={address},lport={port}"
        for user, address, port in asked
    )
    blocks = host.check_output(script).split("== ")[1:]
    return [Login(*one, parse(block.partition("\n")[2])) for one, block in zip(asked, blocks, strict=True)]


def own_addresses(host: Host) -> list[tuple[str, int]]:
    """Where the host reaches its own SSH server."""
    found = []
    for text, port in re.findall(r"(\S+):(\d+)(?:\s|$)", server(host)["listenaddress"]):
        address = ipaddress.ip_address(text.strip("[]"))
        loopback = {4: "127.0.0.1", 6: "::1"}[address.version]
        found.append((loopback if address.is_unspecified else str(address), int(port)))
    assert found, f"sshd names no address: {server(host)['listenaddress']}"
    return found


def attempt(host: Host) -> str:
    """The running server's answer to a login of root, from the host itself, that has nothing to show."""
    address, port = own_addresses(host)[0]
    if host.run("command -v ssh").rc != 0:
        pytest.fail("no SSH client on the host to try a login with")
    said = ""
    for pause in (0, 5, 15, 30):  # OpenSSH 9.8 refuses an address for a while after failed logins
        time.sleep(pause)
        said = host.run(
            "ssh -F /dev/null -o BatchMode=yes -o PreferredAuthentications=none -o StrictHostKeyChecking=no "
            f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 -p {port} root@{address} "
            "echo let in 2>&1 | tail -n 1"
        ).stdout.strip()
        if "let in" in said or "Permission denied" in said:
            break
    return said


def automation_name(policy: dict) -> str:
    return (policy.get("hardening_automation") or {}).get("name", "")


def jump_server(policy: dict) -> bool:
    return not set(policy["groups"]).isdisjoint(policy.get("hardening_jump_groups", ["jump"]))


def check(evidence, logins: list[Login], **wanted: str | set[str]) -> None:
    """Every login has one of the wanted values for each keyword."""
    allowed = {keyword: {value} if isinstance(value, str) else value for keyword, value in wanted.items()}
    seen: dict[str, dict[str, list[str]]] = {keyword: {} for keyword in wanted}
    for login, keyword in itertools.product(logins, wanted):
        seen[keyword].setdefault(login.settings.get(keyword, "(not known)"), []).append(str(login))
    evidence({keyword: {value: len(who) for value, who in values.items()} for keyword, values in seen.items()})
    wrong = [
        f"{keyword} is {value} for {', '.join(who[:5])}"
        for keyword, values in seen.items()
        for value, who in values.items()
        if value not in allowed[keyword]
    ]
    assert not wrong, "; ".join(wrong)


def inside(address: str, networks: list) -> bool:
    one = ipaddress.ip_address(address)
    return any(one.version == network.version and one in network for network in networks)


def declared_sources(policy: dict) -> list[str]:
    """The networks from which the policy lets the automation account come to this host."""
    if declared := policy.get("ssh_automation_from") or policy["hardening_automation"].get("from"):
        return [str(source) for source in declared]
    jumps = [
        address
        for name, entry in policy["all_hosts"].items()
        if name != policy["name"] and not set(entry["groups"]).isdisjoint(policy.get("hardening_jump_groups", ["jump"]))
        for address in entry["addresses"]
    ]
    controllers = [str(source) for source in policy.get("hardening_controllers", [])]
    return controllers if controllers and jump_server(policy) else controllers + jumps
