# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attack the lab's fleet from outside, before and after hardening, and compare.

Real ssh clients, real sockets, and a port scan over IPv4 and IPv6: TCP ports 1-65535 from the controller and from a
stranger, 1-10239 between every two hosts. Nothing is asked of the hosts themselves, and what should be open is worked
out here from the inventory's flows, not by the collection.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import socket
import subprocess
import sys
import time
import typing

import lab
import portscan
import yaml

FLEET = lab.STATE / "fleet"
KNOWN_HOSTS = FLEET / "known_hosts"
# A stranger sits on the site's router, beside the hosts in production and test, and has no flow of its own.
STRANGER, CONTROLLER = "stranger", "controller"
KEYED, PASSWORD, NONE, CODED = "publickey", "password", "none", "publickey,keyboard-interactive"
LOGINS = (  # case, account, method, password, is the account to get in after hardening
    ("root by password", "root", PASSWORD, lab.ROOT_LOGIN, False),
    ("root by key", "root", KEYED, None, False),
    ("toor, also uid 0, by password", "toor", PASSWORD, "toor", False),
    ("test account by password", "test", PASSWORD, "test", False),
    ("test account by key", "test", KEYED, None, False),
    ("guest without a password", "guest", NONE, None, False),
    ("automation account by key", "automation", KEYED, None, True),
    ("administrator alice by key alone", "alice", KEYED, None, False),
    ("administrator alice by key and code", "alice", CODED, None, True),
)
# Between hosts a part of the ports, because a hardened host keeps a record of every knock it sends: all of them at all
# its neighbours would fill its connection table and shut it off for minutes.
ALL_PORTS, BETWEEN_HOSTS = range(1, 65536), range(1, 10240)
BANNERS = {22: b"SSH-", 3306: b"MariaDB"}
CONNECTS = (  # from, to, port, should it be open after hardening
    ("web1", "db1", 3306, True),
    ("test1", "db1", 3306, False),
    (CONTROLLER, "db1", 22, False),
    (CONTROLLER, "jump1", 22, True),
    ("jump1", "web1", 22, True),
    ("jump1", "db1", 22, True),
    ("jump1", "test1", 22, True),
)


class Row(typing.NamedTuple):
    case: str
    want: str
    seen: str
    detail: dict


def namespace(source):
    """Where the attacker sits; None is this machine's own network."""
    return {CONTROLLER: None, STRANGER: lab.SWITCH}.get(source, lab.container(source))


def addresses(source, target):
    """The target's addresses in the zones it shares with the source, or, where there are none, all it has."""
    zones = {CONTROLLER: ("management",), STRANGER: ("production", "test")}.get(source) or lab.FLEET[source][2]
    _image, number, theirs = lab.FLEET[target]
    shared = [zone for zone in theirs if zone in zones] or theirs
    return [address for zone in shared for address in lab.zone_address(zone, number)]


# --- logins ---------------------------------------------------------------------------------------------------------


def ssh(source, target, account, method, password):
    """One login attempt from the only place whose ssh is to be let through: what the client said, and how it ended."""
    options = {
        "UserKnownHostsFile": KNOWN_HOSTS,
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "PreferredAuthentications": "password,keyboard-interactive" if method == PASSWORD else method,
        "NumberOfPasswordPrompts": "1",
        "IdentityAgent": "none",
        "IdentitiesOnly": "yes",
        "IdentityFile": lab.STATE / "keys" / account if method in (KEYED, CODED) else "none",
        "BatchMode": "no" if method in (PASSWORD, CODED) else "yes",
    }
    client = ["ssh", "-F", "none", *(f"-o{name}={value}" for name, value in options.items())]
    client += [f"{account}@{addresses(source, target)[0]}", "echo in"]
    place = namespace(source)
    argv = [*(["ip", "netns", "exec", place] if place else []),
            *(["sshpass", "-p", password] if method == PASSWORD else []),
            *(["sshpass", "-P", "code:", "-p", code(account)] if method == CODED else []), *client]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() == "in", (done.stderr.strip().splitlines() or [""])[-1]


def code(account):
    """What the authenticator of an enrolled administrator shows; anything where nobody has enrolled yet."""
    enrolled = FLEET / "inventory/group_vars/all/totp.yml"
    if not enrolled.exists():
        return "000000"
    vault = ["ansible-vault", "view", "--vault-password-file", FLEET / "vault-password", enrolled]
    secrets = yaml.safe_load(lab.run(*vault))["hardening_totp_secrets"]
    return lab.run("oathtool", "--totp", "--base32", "-", stdin=secrets[account]["secret"].encode())


def login(target, account, method, password):
    """True or False, and the reason. A server that hangs up has not answered: recent ones do so after failures."""
    source = CONTROLLER if target == "jump1" else "jump1"
    for _attempt in range(4):
        entered, reason = ssh(source, target, account, method, password)
        if entered or "denied" in reason:
            return entered, reason
        if "closed" not in reason and "reset" not in reason:
            break
        time.sleep(15)
    return None, reason


def attack_logins():
    hosts = list(lab.FLEET)
    attempts = [(case, host) for case in LOGINS for host in hosts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda attempt: login(attempt[1], *attempt[0][1:4]), attempts))
        offers = list(pool.map(lambda host: login(host, "nobody", NONE, None)[1], hosts))
    for case in LOGINS:
        seen = {host: result for (other, host), result in zip(attempts, results, strict=True) if other is case}
        entered = [host for host, (inside, _reason) in seen.items() if inside]
        unclear = [host for host, (inside, _reason) in seen.items() if inside is None]
        text = count(entered, hosts) + (f", no answer from {' '.join(unclear)}" if unclear else "")
        yield Row(case[0], count(hosts if case[4] else [], hosts), text, dict(seen))
    methods = dict(zip(hosts, offers, strict=True))
    asking = [host for host in hosts if "password" in methods[host] or "keyboard-interactive" in methods[host]]
    yield Row("passwords asked for", count([], hosts), count(asking, hosts), methods)


def count(some, hosts):
    if len(some) in (0, len(hosts)):
        return f"{len(some)} of {len(hosts)} hosts"
    return f"{len(some)} of {len(hosts)} hosts: {' '.join(some)}"


# --- connections ----------------------------------------------------------------------------------------------------


def connect(source, address, port):
    """What a client sees: 'open' only when the service itself answers."""
    place = namespace(source)
    try:
        with (
            lab.inside(place) if place else contextlib.nullcontext(),
            socket.create_connection((address, port), timeout=3) as connection,
        ):
            return "open" if BANNERS[port] in connection.recv(256) else "hangs up"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror.lower()


def attack_connects():
    for source, target, port, wanted in CONNECTS:
        seen = {}
        for address in addresses(source, target):
            for _attempt in range(4):
                seen[address] = connect(source, address, port)
                if seen[address] != "hangs up":
                    break
                time.sleep(15)
        opened = [address for address, result in seen.items() if result == "open"]
        text = "open" if len(opened) == len(seen) else f"open at {' '.join(opened)}" if opened else "refused"
        yield Row(f"{source} to {target}:{port}", "open" if wanted else "refused", text, seen)


# --- ports ----------------------------------------------------------------------------------------------------------


def scan(source, address):
    place = namespace(source)
    with lab.inside(place) if place else contextlib.nullcontext():
        return reachable(portscan.scan(address, ports_from(source)), len(ports_from(source)))


def ports_from(source):
    return BETWEEN_HOSTS if source in lab.FLEET else ALL_PORTS


def reachable(answers, asked):
    """Open ports; and where most are silent, those that answer 'closed' too: a hole that nobody uses yet."""
    filtered = len(answers) < asked / 2
    return sorted(port for port, state in answers.items() if state == "open" or filtered)


def pairs():
    for source in (CONTROLLER, STRANGER, *lab.FLEET):
        for target in ["jump1"] if source == CONTROLLER else lab.FLEET:
            if source != target:
                yield source, target


def attack_ports():
    flows, groups = policy()
    jobs = [(source, address) for source, target in pairs() for address in addresses(source, target)]
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        found = dict(zip(jobs, pool.map(scan, *zip(*jobs, strict=True)), strict=True))
    for source, target in pairs():
        seen = {address: found[source, address] for address in addresses(source, target)}
        lists = sorted({listed(ports) for ports in seen.values()})
        wanted = listed(declared(flows, groups, source, target))
        yield Row(f"ports of {target} from {source}", wanted, lists[0] if len(lists) == 1 else str(seen), seen)


def listed(ports):
    return " ".join(str(port) for port in ports) or "none"


def policy():
    argv = ["ansible-inventory", "--vault-password-file", str(FLEET / "vault-password")]
    argv += ["--inventory", str(FLEET / "inventory"), "--list"]
    inventory = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    groups = {host: {host} for host in lab.FLEET}
    for name, group in inventory.items():
        for host in group.get("hosts", []):
            groups[host].add(name)
    return inventory["_meta"]["hostvars"]["jump1"]["hardening_flows"], groups


def declared(flows, groups, source, target):
    """The TCP ports the inventory opens from one host to another. Only the words the lab's own inventory uses."""
    sources = {"any", *({"controllers"} if source == CONTROLLER else groups.get(source, ()))}
    ports = set()
    for flow in flows:
        if flow["from"] in sources and flow["to"] in {"all", *groups[target]} and flow.get("proto", "tcp") == "tcp":
            ports.update(flow["port"] if isinstance(flow["port"], list) else [flow["port"]])
    return sorted(ports)


# --- the table ------------------------------------------------------------------------------------------------------


def attack():
    rows = []
    # Logins first: a server that bars an address after failures has forgotten it when the connections are tried.
    for text, part in (("logins", attack_logins), ("ports", attack_ports), ("connections", attack_connects)):
        lab.say(f"attack: {text}")
        rows += part()
    return rows


def record(phase):
    return FLEET / f"attack-{phase}.json"


def save(phase, rows):
    path = record(phase)
    path.write_text(json.dumps([row._asdict() for row in rows], indent=2, default=str) + "\n", encoding="utf-8")
    return path


def show(rows, before):
    lines = [("attack from outside", "before", "after", "want", "")]
    for row in rows:
        mark = "" if row.seen == row.want else "WRONG"
        lines.append((row.case, before.get(row.case, "-"), row.seen, row.want, mark))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    lines.insert(1, tuple("-" * width for width in widths) + ("",))
    for line in lines:
        print(" | ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip(" |"))
    print("Every TCP port was tried from controller and stranger, 1-10239 between hosts; each over IPv4 and IPv6.")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=("before", "after"), help="before: only recorded; after: compared and judged")
    parser.add_argument("--again", action="store_true", help="before: attack though there is a record of this fleet")
    options = parser.parse_args(argv)
    lab.use_containers_conf()
    if missing := set(lab.FLEET) - set(lab.containers()):
        sys.exit(f"attack: no such hosts: {' '.join(sorted(missing))}; start the fleet with lab.py up")
    if options.phase == "before" and record("before").exists() and not options.again:
        lab.say(f"attack: recorded already in {record('before')}")
        return
    rows = attack()
    path = save(options.phase, rows)
    lab.say(f"attack: recorded in {path}")
    if options.phase == "after":
        before = json.loads(record("before").read_text(encoding="utf-8")) if record("before").exists() else []
        show(rows, {row["case"]: row["seen"] for row in before})
        wrong = [row.case for row in rows if row.seen != row.want]
        if wrong:
            sys.exit(f"attack: {len(wrong)} of {len(rows)} cases are not as they should be")


if __name__ == "__main__":
    main()
