# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How this host's SSH has to be configured, given what the survey found on it: nothing here touches a host.

sshd takes the first value that it reads for a keyword, and of the Match blocks that apply the first with a value for
it wins over all that is global. So a drop-in read first, which ends in a block that always applies, cannot be undone
by another file. What the site had set otherwise is named, taken over or refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.rampart.hardening.plugins.module_utils.survey_ssh import (
    ALIASES,
    CLIENT_DROPIN,
    DEFAULT_HOST_KEYS,
    SERVER_CONFIG,
    SERVER_DROPIN,
    ours,
)
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows

OLDEST = [8, 7]  # from then on KbdInteractiveAuthentication is all there is of it
ED25519 = "/etc/ssh/ssh_host_ed25519_key"
RSA_BITS = 3072
# Best first. ssh-audit has neither a failure nor a warning for what is not marked classic.
POST_QUANTUM = ["mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"]
CLASSIC_KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org"]
CIPHERS = ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr"]
MACS = ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"]
# People's keys: every type that is not broken, with the certificates and hardware keys made of it
PUBLIC_KEYS = [
    f"{name}{suffix}"
    for suffixes, names in (
        (("", "-cert-v01@openssh.com"), ("ssh-ed25519",)),
        (("@openssh.com", "-cert-v01@openssh.com"), ("sk-ssh-ed25519", "sk-ecdsa-sha2-nistp256")),
        (("", "-cert-v01@openssh.com"), ("rsa-sha2-512", "rsa-sha2-256")),
        (("", "-cert-v01@openssh.com"), ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")),
    )
    for name in names
    for suffix in suffixes
]
# The client meets servers that are not ours: also what is sound though not what we would offer
CLIENT_KEX = [*POST_QUANTUM, *CLASSIC_KEX, "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"]
CLIENT_KEYWORDS = {
    "ciphers", "forwardagent", "forwardx11", "forwardx11trusted", "hashknownhosts", "kexalgorithms", "macs",
}  # fmt: skip
CLIENT_MACS = [*MACS, "hmac-sha2-512", "hmac-sha2-256"]
# Keywords whose values add up instead of the first one winning
CUMULATIVE = {"allowgroups", "allowusers", "denygroups", "denyusers", "hostkey"}


def where(one: Mapping) -> str:
    """A directive as people look for it."""
    scope = f" ({one['match']})" if one["match"] else ""
    return f"{one['file']}:{one['line']} {one['name']} {one['value']}{scope}"


def of_site(config: Mapping, keyword: str | None = None) -> list[dict]:
    """The site's directives: all, or those of one keyword."""
    found = [one for one in config.get("directives", []) if not ours(one["file"])]
    return [one for one in found if keyword in (None, one["keyword"])]


def supported(wanted: Iterable[str], known: Iterable[str]) -> list[str]:
    """What of `wanted` this OpenSSH knows. Without a list to go by, all of it: sshd -t has the last word."""
    known = set(known)
    return [name for name in wanted if not known or name in known]


# --- who gets in


def may_apply(scope: str, name: str) -> bool:
    """Whether a Match block could apply to the user `name`: only its User criterion can rule that out."""
    users = re.findall(r"(?i)\buser[\s=]+(\S+)", scope)
    return all(any(fnmatch.fnmatchcase(name, part) for part in pattern.split(",")) for pattern in users)


def named_by(directive: Mapping, name: str) -> bool:
    """Whether a pattern of AllowUsers or its kin has `name` in it, from whichever host."""
    return any(fnmatch.fnmatchcase(name, pattern.partition("@")[0]) for pattern in directive["value"].split())


def access(config: Mapping, people: list[str], login_group: str, groups: Iterable[str] = ()) -> dict:
    """What the site's own lists of users and groups mean for ours: names to add to them, or reasons to refuse."""
    refuse = []
    for one in of_site(config, "denyusers"):
        for name in people:
            if may_apply(one["match"], name) and named_by(one, name):
                refuse.append(f"{where(one)} shuts out {name}, who has to get in: change it first")
    for one in of_site(config, "denygroups"):
        for group in dict.fromkeys((login_group, "sudo", *people, *groups)):
            if people and named_by(one, group):
                refuse.append(f"{where(one)} shuts out the group {group}, whose members have to get in")
    for one in of_site(config, "allowusers"):
        for name in people if one["match"] else []:
            if may_apply(one["match"], name) and not named_by(one, name):
                refuse.append(f"{where(one)} would shut out {name} where it applies: add {name} to it")
    # sshd wants both: a name of AllowUsers and a group of AllowGroups. Several lines add up to one list.
    users = [one for one in of_site(config, "allowusers") if not one["match"]]
    groups = [one for one in of_site(config, "allowgroups") if not one["match"]]
    listed_users, listed_groups = (
        [name for one in found for name in one["value"].split()] for found in (users, groups)
    )
    return {
        "refuse": refuse,
        "add_users": people if users else [],
        "allow_users": list(dict.fromkeys([*people, *listed_users])) if users else [],
        "allow_groups": list(dict.fromkeys([login_group, *listed_groups])),
    }


def second_factor(config: Mapping) -> dict:
    """Whether the site asks for a key and then something interactive. Then the interactive part has to stay."""
    refuse, wanted, scopes = [], False, set()
    for one in of_site(config, "authenticationmethods"):
        chains = [[step.partition(":")[0] for step in chain.split(",")] for chain in one["value"].split()]
        if chains == [["any"]]:
            continue
        scopes.add(one["match"])
        with_key = [chain for chain in chains if "publickey" in chain and "password" not in chain]
        if not with_key:
            refuse.append(f"{where(one)} cannot be met by a key without a password: change it first")
        elif not any("keyboard-interactive" not in chain for chain in with_key):
            wanted = True
            if any("publickey" not in chain for chain in chains):
                refuse.append(f"{where(one)} lets people in without a key: change it first")
    # those whom the site does not ask for it still need a key and nothing else
    return {"refuse": refuse, "wanted": wanted, "key_alone": wanted and "" not in scopes}


# --- keys of the host


def host_keys(survey: Mapping, enforced: bool) -> dict:
    """Which host keys to offer, to make, to remove, and which of them others may read."""
    config, known = survey["config"], {key["path"]: key for key in survey["host_keys"]}
    plan = {"refuse": [], "load": [], "algorithms": [], "generate": False, "remove": [], "modes": []}
    if not enforced:
        return plan
    chosen = [one["value"] for one in of_site(config, "hostkey")]

    def strong(path: str) -> bool:
        key = known.get(path, {})
        return key.get("type") == "ssh-ed25519" or (key.get("type") == "ssh-rsa" and key["bits"] >= RSA_BITS)

    offered = [path for path in chosen or DEFAULT_HOST_KEYS if strong(path)]
    if not chosen or not offered:
        offered = [ED25519, *(path for path in offered if path != ED25519)]
        plan["load"] = offered
        # an image has no keys before its first boot, and must not: each host makes its own
        plan["generate"] = not strong(ED25519) and any(key["exists"] for key in known.values())
    kinds = {known[path]["type"] if path in known and known[path]["type"] else "ssh-ed25519" for path in offered}
    certificates = survey.get("host_certificates", [])
    for kind, names in (("ssh-ed25519", ["ssh-ed25519"]), ("ssh-rsa", ["rsa-sha2-512", "rsa-sha2-256"])):
        if kind in kinds:
            if any(one["type"].startswith(kind) for one in certificates):
                plan["algorithms"] += [f"{name}-cert-v01@openssh.com" for name in names]
            plan["algorithms"] += names
    if certificates and not any("-cert-" in name for name in plan["algorithms"]):
        paths = ", ".join(one["path"] for one in certificates)
        plan["refuse"].append(
            f"the host certificate {paths} is not of a key that ssh.host_keys lets the host offer: "
            "issue one for its ed25519 key, or waive ssh.host_keys"
        )
    plan["remove"] = [key["path"] for key in known.values() if key["type"] == "ssh-dss" and key["path"] not in chosen]
    plan["modes"] = [
        key["real"]
        for key in known.values()
        if key["exists"]
        and key["path"] not in plan["remove"]
        and (key["owner"] != "root" or int(key["mode"], 8) & (0o037 if key["group"] == "ssh_keys" else 0o077))
    ]
    return plan


# --- the daemon


def activation(survey: Mapping, dropin: str = SERVER_DROPIN) -> dict:
    """The commands that make the daemon read `dropin` again, and the one that tells whether it has."""
    pid_file, service = survey.get("pid_file", ""), survey.get("service", "")
    if service and survey.get("socket"):
        # A daemon that was handed its socket by systemd dies of a reload: it cannot bind the port again.
        # Sessions outlive a restart, and new connections wait at the socket meanwhile.
        activate = [["systemctl", "try-restart", service]]
    elif service:
        activate = [["systemctl", "reload", service]]
    elif survey.get("listeners") and pid_file:
        activate = [["sh", "-c", 'kill -HUP "$(cat "$0")"', pid_file]]
    else:
        return {"activate": [], "active": []}  # nothing runs; whatever starts it later reads the files
    if not pid_file or not survey.get("listeners"):
        return {"activate": activate, "active": []}
    # The daemon writes its pid file anew each time it reads its configuration. It does so shortly after the signal.
    # A clock that was set back must not make the drop-in look new for ever: it is touched before.
    loaded = ["env", "test", pid_file, "-nt", dropin]  # the shell's own test may know seconds only
    wait = 'for try in $(seq 100); do "$@" && exit; sleep 0.1; done; exit 1'
    return {
        "activate": [["touch", "-c", dropin], *activate, ["sh", "-c", wait, "wait", *loaded]],
        "active": [loaded],
    }


def validation(survey: Mapping) -> list[list[str]]:
    """The commands that tell whether sshd takes its files. It wants a directory that only its running unit has."""
    missing = re.search(r"privilege separation directory: (\S+)", survey["error"])
    make = [["install", "-d", "-m", "0755", missing.group(1)]] if missing else []
    return [*make, [survey["binary"], "-t"]]


def laxer_limits(config: Mapping, limits: Mapping[str, object]) -> list[str]:
    """The limits that a Match block of the site raises or lifts (0 is no limit)."""
    found = []
    for name, limit in limits.items():
        for one in of_site(config, name.lower()):
            if one["match"] and (not one["value"].isdigit() or not 0 < int(one["value"]) <= int(limit)):
                found.append(name)
                break
    return found


def plan(
    survey: Mapping,
    controls: Iterable[str] = (),
    people: Iterable[str] = (),
    login_group: str = "ssh-login",
    groups: Iterable[str] = (),
    limits: Mapping[str, object] | None = None,
) -> dict:
    """What the templates need to know about this host, and why it would have to be refused."""
    controls = set(controls)
    refuse = []
    if survey["version"] and survey["version"] < OLDEST:
        refuse.append(f"{survey['version_text']} is too old: this needs OpenSSH {OLDEST[0]}.{OLDEST[1]} or newer")
    if not survey["valid"]:
        refuse.append(f"the configuration of sshd is broken as it is: {survey['error']}")
    config, known = survey["config"], survey["algorithms"]
    people = list(dict.fromkeys(people))
    who = access(config, people if "ssh.login_group" in controls else [], login_group, groups)
    factor = second_factor(config) if "ssh.password_authentication" in controls else second_factor({})
    keys = host_keys(survey, "ssh.host_keys" in controls)
    post_quantum = supported(POST_QUANTUM, known["kex"])
    classic = not post_quantum or "ssh.post_quantum" not in controls
    banner = next((one["value"] for one in of_site(config, "banner") if not one["match"]), "none")
    exposed = [
        one["real"]
        for one in config["files"]
        if one["exists"] and not ours(one["path"]) and (one["owner"] != "root" or int(one["mode"], 8) & 0o077)
    ]
    return {
        "version": survey["version"],
        "refuse": refuse + who["refuse"] + factor["refuse"] + keys["refuse"],
        "kex": post_quantum + (supported(CLASSIC_KEX, known["kex"]) if classic else []),
        "ciphers": supported(CIPHERS, known["cipher"]),
        "macs": supported(MACS, known["mac"]),
        "public_keys": supported(PUBLIC_KEYS, known["signature"]),
        "client_kex": supported(CLIENT_KEX, known["kex"]),
        "client_macs": supported(CLIENT_MACS, known["mac"]),
        "client_except": client_exceptions(survey["client"].get("config", {})),
        "access": who,
        "second_factor": factor,
        "host_keys": keys,
        "banner": banner if banner.lower() != "none" else "",
        "laxer_limits": laxer_limits(config, limits or {}),
        "exposed": list(dict.fromkeys(exposed)) if "ssh.config_permissions" in controls else [],
        **activation(survey),
    }


# --- what stands against us


def own_settings(content: str) -> tuple[dict[str, str], set[str]]:
    """What our drop-in sets for everybody, and which keywords of that it repeats in a block that always applies."""
    head, dummy, always = content.partition("\nMatch all\n")
    head = re.split(r"(?m)^Match ", head)[0]
    lines = [line.split(None, 1) for line in head.splitlines() if line.strip() and not line.startswith("#")]
    own = {words[0].lower(): words[1].strip() for words in lines if len(words) == 2}
    return own, {line.split()[0].lower() for line in always.splitlines() if line.strip()}


def read_before(config: Mapping, dropin: str) -> list[dict] | None:
    """The directives that are read before our drop-in; None where it is not read at all, or only sometimes."""
    place = next((one for one in config["files"] if one["path"] == dropin), None)
    if place is None or place["match"]:  # ssh_config has no trouble with the latter
        return None
    before = config["directives"][: place["position"]]
    # of our own drop-ins those that have to come later
    return [one for one in before if one["file"] > dropin or not ours(one["file"])]


def include_first(config: Mapping, dropin: str) -> dict:
    """The main file, with our drop-ins included before everything else, in their own order."""
    pattern = re.sub(r"rampart.*\.conf$", "rampart*.conf", dropin)
    return {"path": config["real"], "content": f"Include {pattern}\n{config['text'] or ''}", "mode": config.get("mode")}


def unlike(one: Mapping, own: Mapping[str, str]) -> bool:
    keyword = one["keyword"]
    return keyword in own and keyword not in CUMULATIVE and one["value"].lower() != own[keyword].lower()


def takeover(survey: Mapping, content: str, dropin: str = SERVER_DROPIN) -> dict:
    """What our drop-in with this content would have to win against: what it overrides, and what it cannot."""
    own, repeated = own_settings(content)
    config = survey["config"]
    result = {"refuse": [], "overridden": [], "main": {}}
    for way in survey["command_lines"]:
        if way["config"] not in (None, SERVER_CONFIG):
            result["refuse"].append(f"{way['source']} reads {way['config']} instead of {SERVER_CONFIG} (option -f)")
        for option in way["options"]:
            keyword, dummy, value = option.replace("=", " ", 1).partition(" ")
            keyword = ALIASES.get(keyword.lower(), keyword.lower())
            if keyword in own and (keyword in CUMULATIVE or value.strip().lower() != own[keyword].lower()):
                result["refuse"].append(f"{way['source']} sets {option} (option -o), over every configuration file")
    for one in of_site(config):
        if unlike(one, own) and (not one["match"] or one["keyword"] in repeated):
            result["overridden"].append(where(one))
    for one in config["files"]:
        if one["path"] == dropin and one["match"]:
            result["refuse"].append(
                f"the Include of {dropin.rpartition('/')[0]} stands inside '{one['match']}', where sshd takes "
                "no settings for everybody: move it to the top of its file"
            )
    before = read_before(config, dropin)
    if before is None or any(one["match"] or unlike(one, own) for one in before):
        if config["exists"] and config["text"] is None:
            result["refuse"].append(f"{config['path']} is not UTF-8 text, and our drop-in has to be included in it")
        result["main"] = include_first(config, dropin)
    return result


# --- the whole change


def host_key_files(keys: Mapping) -> list[dict]:
    """The host keys as files of a confirmed change: made, removed, or shut to others."""
    private = {"mode": "0600", "sensitive": True}
    keep = {"generate": ["false"]}  # an existing file keeps its content, and these exist
    files = [{"path": path, **keep, **private} for path in keys["modes"] if not keys["generate"] or path != ED25519]
    if keys["generate"]:
        name = ED25519.rpartition("/")[2]
        # ssh-keygen leaves the public half beside the private one, where the next command finds it
        public = f'cp "${{0%/*}}"/*-{name}.pub "$0" 2>/dev/null || ssh-keygen -y -f {ED25519} >"$0"'
        files += [
            {"path": ED25519, "generate": ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "%s"], **private},
            {"path": f"{ED25519}.pub", "generate": ["sh", "-c", public, "%s"], "mode": "0644"},
        ]
    for path in keys["remove"]:
        files += [{"path": path, "state": "absent", "sensitive": True}, {"path": f"{path}.pub", "state": "absent"}]
    return files


def change(
    survey: Mapping,
    plan: Mapping,
    server: str = "",
    client: str = "",
    banner: Mapping | None = None,
    refuse: Iterable[str] = (),
) -> dict:
    """The arguments of the confirmed change, with what it overrides as notes.

    `server` and `client` are the contents of our drop-ins, `banner` is a path and a text, `refuse` what the role
    has against it beside all that the host gives reason to.
    """
    refuse, overridden, files = [*plan["refuse"], *refuse], [], []
    if server:
        found = takeover(survey, server)
        refuse += found["refuse"]
        overridden += found["overridden"]
        main = found["main"]
        mode = "0600" if survey["config"]["real"] in plan["exposed"] else survey["config"].get("mode", "0600")
        files += host_key_files(plan["host_keys"])
        if banner:
            files.append({"path": banner["path"], "content": banner["text"], "mode": "0644"})
        files.append({"path": SERVER_DROPIN, "content": server, "mode": "0600"})
        if main:
            files.append({"path": main["path"], "content": main["content"], "mode": mode})
        files += [
            {"path": path, "generate": ["false"], "mode": "0600"}
            for path in plan["exposed"]
            if not main or path != main["path"]
        ]
    if client:
        found = client_takeover(survey, client)
        refuse += found["refuse"]
        overridden += found["overridden"]
        files.append({"path": CLIENT_DROPIN, "content": client, "mode": "0644"})
        if found["main"]:
            files.append({**found["main"], "mode": survey["client"]["config"].get("mode", "0644")})
    return {
        "refuse": refuse,
        "notes": [f"overrides {one}" for one in overridden],
        "files": files,
        "validate": validation(survey) if server else [],
        "active": plan["active"] if server else [],
        "activate": plan["activate"] if server else [],
    }


# --- policy


def automation_sources(
    host: str,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping],
    jump_groups: Iterable[str] = ("jump",),
    controllers: Iterable[object] = (),
) -> list[str]:
    """From where the automation account comes to `host`: the controllers, and behind a jump server also that."""
    inventory = flows.inventory(groups, hostvars, controllers)
    jumps = {name for group in jump_groups for name in inventory.members(group)}
    found = list(inventory.controllers)
    if host not in jumps or not found:
        found += [network for name in sorted(jumps - {host}) for network in inventory.addresses(name)]
    return list(dict.fromkeys(str(network).removesuffix(f"/{network.max_prefixlen}") for network in found))


# --- the client


def client_exceptions(config: Mapping) -> list[str]:
    """The hosts for which the system's client configuration has values of its own for what we set."""
    found = []
    for one in of_site(config):
        if one["keyword"] not in CLIENT_KEYWORDS:
            continue
        words = re.split(r"[\s=]+", one["match"])
        if words[0].lower() == "host":
            found += [word for word in words[1:] if word != "*" and not word.startswith("!")]
        elif words[0].lower() == "match":
            found += [
                part
                for attribute, pattern in zip(words[1:], words[2:], strict=False)
                if attribute.lower() in ("host", "originalhost")
                for part in pattern.split(",")
                if part != "*" and not part.startswith("!")
            ]
    return sorted(set(found))


def client_takeover(survey: Mapping, content: str) -> dict:
    """The client's counterpart of :func:`takeover`: settings for hosts of the site's own stay."""
    own = own_settings(re.sub(r"(?m)^Host .*\n|^[ \t]+", "", content))[0]
    config = survey["client"].get("config")
    result = {"refuse": [], "overridden": [], "main": {}}
    if not config:
        return result

    def ours_to_say(one: Mapping) -> bool:
        return one["match"] == "" or one["match"].lower().split() == ["host", "*"]

    result["overridden"] = [
        where(one) for one in of_site(config) if unlike(one, own) and ours_to_say(one)
    ]
    before = read_before(config, CLIENT_DROPIN)
    if before is None or any(unlike(one, own) and ours_to_say(one) for one in before):
        if config["exists"] and config["text"] is None:
            result["refuse"].append(f"{config['path']} is not UTF-8 text, and our drop-in has to be included in it")
        result["main"] = include_first(config, CLIENT_DROPIN)
    return result
