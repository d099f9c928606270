# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What SSH on this host is really like: its daemon, its whole configuration, its keys. Reads, changes nothing."""

from __future__ import annotations

import base64
import getopt
import glob
import grp
import os
import pwd
import re
import shlex
import shutil
import socket
import stat
import struct

SERVER_CONFIG = "/etc/ssh/sshd_config"
SERVER_DROPIN = "/etc/ssh/sshd_config.d/00-rampart.conf"
MFA_DROPIN = "/etc/ssh/sshd_config.d/00-rampart-mfa.conf"
BASTION_DROPIN = "/etc/ssh/sshd_config.d/00-rampart-bastion.conf"
CLIENT_CONFIG = "/etc/ssh/ssh_config"
CLIENT_DROPIN = "/etc/ssh/ssh_config.d/00-rampart.conf"
# Each role has its own. Their names make sshd read the narrower first: what they set holds over what the role ssh sets.
DROPINS = {SERVER_CONFIG: (BASTION_DROPIN, MFA_DROPIN, SERVER_DROPIN), CLIENT_CONFIG: (CLIENT_DROPIN,)}
DEFAULT_HOST_KEYS = [f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")]
OPTION_FILES = ("/etc/default/ssh", "/etc/sysconfig/sshd")
UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
REPEATED = {
    "acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers", "hostcertificate", "hostkey",
    "listenaddress", "port", "setenv", "subsystem",
}  # fmt: skip
# sshd_config(5): old names of keywords that are still understood
ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "hostbasedacceptedkeytypes": "hostbasedacceptedalgorithms",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "skeyauthentication": "kbdinteractiveauthentication",
}
# What decides who gets in and what they may do there, for the logins that Match blocks single out
LOGIN_KEYWORDS = (
    "allowgroups", "allowtcpforwarding", "allowusers", "authenticationmethods", "authorizedkeysfile",
    "chrootdirectory", "denygroups", "denyusers", "disableforwarding", "forcecommand", "kbdinteractiveauthentication",
    "passwordauthentication", "permitemptypasswords", "permitrootlogin", "pubkeyauthentication",
)  # fmt: skip
ELSEWHERE = "192.0.2.1"  # an address of nobody (RFC 5737)
# Where a Match block names a LocalPort, sshd -T wants to be told one; on this one nobody listens
ANY_PORT = ["-C", "lport=65535"]
MAX_LOGINS = 24
MAX_DEPTH = 16  # of includes, as in OpenSSH
TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(#.*)|(\S+)')


def ours(path):
    """Whether this file is written by a role of this collection."""
    return any(path in dropins for dropins in DROPINS.values())


def read(path):
    """The text of a file; None where there is none or it is not text."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, ValueError):
        return None


def tokens(text):
    """The arguments of a line, without its comment."""
    found = []
    for quoted, comment, plain in TOKEN.findall(text):
        if comment:
            break
        found.append(plain or quoted)
    return found


class Config:
    """A configuration with all that it includes, in the order in which OpenSSH reads it (the first value wins).

    `dropins` are listed among the files where they would be read, whether they exist already or not.
    """

    def __init__(self, main, dropins, scopes, client=False):
        self.dropins, self.scopes, self.client = dropins, scopes, client
        self.files, self.directives = [], []
        self.read_file(main, "", 0)

    def read_file(self, path, scope, depth):
        self.files.append(dict(path=path, match=scope, position=len(self.directives), **owner_and_mode(path)))
        outer = scope
        for number, line in enumerate((read(path) or "").splitlines(), 1):
            parsed = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
            if not parsed:
                continue
            keyword, arguments = parsed.group(1).lower(), tokens(parsed.group(2))
            keyword = keyword if self.client else ALIASES.get(keyword, keyword)
            if keyword in self.scopes:
                scope = " and ".join(filter(None, (outer, f"{parsed.group(1)} {' '.join(arguments)}")))
                continue
            if keyword == "include":
                for pattern in arguments if depth < MAX_DEPTH else []:
                    for included in self.expand(pattern):
                        self.read_file(included, scope, depth + 1)
                continue
            self.directives.append(
                {
                    "file": path,
                    "line": number,
                    "keyword": keyword,
                    "name": parsed.group(1),
                    "value": " ".join(arguments),
                    "match": scope,
                }
            )

    def expand(self, pattern):
        pattern = os.path.join("/etc/ssh", pattern)
        paths = set(glob.glob(pattern))
        for dropin in self.dropins:
            if glob.fnmatch.fnmatch(dropin, pattern) and os.path.dirname(pattern) == os.path.dirname(dropin):
                paths.add(dropin)
        return sorted(paths)


def config_facts(main, dropins, scopes, client=False):
    """The configuration that begins in the file `main`."""
    config = Config(main, dropins, scopes, client)
    return dict(
        path=main,
        text=read(main),
        files=config.files,
        directives=config.directives,
        **owner_and_mode(main),
    )


def owner_and_mode(path):
    """What stands at a path, behind its links: `real`, `exists`, and if so `mode`, `owner`, `group`."""
    facts = {"real": os.path.realpath(path), "exists": False}
    try:
        info = os.stat(path)
    except OSError:
        return facts
    facts.update(exists=True, mode=f"{stat.S_IMODE(info.st_mode):04o}")
    for key, lookup, number in (("owner", pwd.getpwuid, info.st_uid), ("group", grp.getgrgid, info.st_gid)):
        try:
            facts[key] = lookup(number)[0]
        except KeyError:
            facts[key] = str(number)
    return facts


def settings(text):
    """The output of sshd -T: a keyword's value, or the list of values of a keyword that may be repeated."""
    found = {}
    for line in text.splitlines():
        keyword, dummy, value = line.strip().partition(" ")
        if keyword in REPEATED:
            found.setdefault(keyword, []).append(value)
        elif keyword:
            found[keyword] = value
    return found


# --- the daemon


def listening():
    """TCP sockets that listen, as {inode: (address, port)}."""
    found = {}
    for path, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for line in (read(path) or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] != "0A":
                continue
            address, port = fields[1].split(":")
            words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
            raw = struct.pack(f"={len(words)}I", *words)
            found[fields[9]] = (socket.inet_ntop(family, raw), int(port, 16))
    return found


def listeners():
    """The daemons that wait for connections: pid, command line, addresses."""
    inodes, found = listening(), []
    for comm in glob.glob("/proc/[0-9]*/comm"):
        directory = os.path.dirname(comm)
        if (read(comm) or "").strip() != "sshd":
            continue
        title = (read(directory + "/cmdline") or "").split("\0")
        # OpenSSH shows "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"; its sessions have another title
        shown = re.match(r"sshd: (/.*) \[listener\]", title[0])
        if not shown and not title[0].startswith("/"):
            continue
        addresses = set()
        try:
            for descriptor in os.listdir(directory + "/fd"):
                link = os.readlink(f"{directory}/fd/{descriptor}")
                if link.startswith("socket:[") and link[8:-1] in inodes:
                    addresses.add(inodes[link[8:-1]])
        except OSError:
            continue  # gone meanwhile
        if addresses:
            argv = shown.group(1).split() if shown else [part for part in title if part]
            found.append({"pid": int(os.path.basename(directory)), "argv": argv, "listen": sorted(addresses)})
    return found


def units(run):
    """systemd's view of the units that may run sshd."""
    rc, out, dummy = run(["systemctl", "show", "--property=Id,LoadState,ActiveState,ExecStart,Listen", *UNITS])
    found = {}
    for block in out.split("\n\n") if rc == 0 else []:
        facts = [line.partition("=")[::2] for line in block.splitlines()]
        unit = dict(facts)
        if unit.get("LoadState") != "loaded" or not unit.get("Id"):
            continue
        started = re.search(r"argv\[\]=(.*?) ;", unit.get("ExecStart", ""))
        found[unit["Id"]] = {
            "active": unit["ActiveState"] in ("active", "reloading"),
            "argv": started.group(1).split() if started else [],
            "listen": [value.split()[0] for key, value in facts if key == "Listen" and value],
        }
    return found


def option_files():
    """Options for sshd in the files that its unit or init script reads: (file, argv)."""
    for path in OPTION_FILES:
        for line in (read(path) or "").splitlines():
            parsed = re.match(r"\s*(?:export\s+)?(?:SSHD_OPTS|OPTIONS)=(.*)", line)
            if parsed:
                try:
                    words = shlex.split(parsed.group(1), comments=True)
                    yield path, shlex.split(" ".join(words))
                except ValueError:
                    yield path, parsed.group(1).split()


def options(argv):
    """What a command line of sshd sets: (the configuration file or None, ["Keyword=value", …])."""
    try:
        given = getopt.gnu_getopt(argv, "C:E:b:c:f:g:h:k:o:p:u:46DGQRTVdeiqrt")[0]
    except getopt.GetoptError:
        return None, []
    config = next((value for flag, value in given if flag == "-f"), None)
    return config, [value for flag, value in given if flag == "-o"]


def command_lines(running, known_units):
    """Every way in which sshd was or will be started, as {source, config, options}."""
    ways = [(f"the running sshd (process {one['pid']})", one["argv"][1:]) for one in running]
    ways += [(name, unit["argv"][1:]) for name, unit in known_units.items() if name.endswith(".service")]
    ways += option_files()
    found = []
    for source, argv in ways:
        config, given = options(argv)
        found.append({"source": source, "config": config, "options": given})
    return found


# --- keys and logins


def host_key(path, run):
    """Type and size of a host key, and who may read it. Never its secret."""
    key = dict(path=path, type="", bits=0, public=os.path.exists(path + ".pub"), **owner_and_mode(path))
    try:
        blob = base64.b64decode((read(path + ".pub") or "").split()[1], validate=True)
        fields = []
        while blob:
            length = struct.unpack(">I", blob[:4])[0]
            fields.append(blob[4 : 4 + length])
            blob = blob[4 + length :]
        key["type"] = fields[0].decode("ascii")
        if key["type"] == "ssh-rsa":
            key["bits"] = int.from_bytes(fields[2], "big").bit_length()
        elif key["type"] == "ssh-dss":
            key["bits"] = int.from_bytes(fields[1], "big").bit_length()
        else:
            key["bits"] = int((re.findall(r"nistp(\d+)", key["type"]) or [256])[0])
    except (IndexError, ValueError, struct.error):
        said = run(["ssh-keygen", "-l", "-f", path])[1].split() if key["exists"] else []
        if said and said[0].isdigit():
            bits, kind = said[0], said[-1].strip("()")
            names = {"ED25519": "ssh-ed25519", "RSA": "ssh-rsa", "DSA": "ssh-dss", "ECDSA": f"ecdsa-sha2-nistp{bits}"}
            key.update(type=names.get(kind, ""), bits=int(bits))
    return key


def special_logins(directives):
    """The (user, address) pairs that Match blocks of the site tell apart, root first."""
    users, addresses = ["root"], [ELSEWHERE]
    for scope in {one["match"] for one in directives if one["match"] and not ours(one["file"])}:
        words = re.split(r"[\s=]+", scope)
        for attribute, pattern in zip(words, words[1:]):
            for value in pattern.split(","):
                if attribute.lower() == "user" and re.fullmatch(r"[\w.@-]+", value) and value not in users:
                    users.append(value)
                if attribute.lower() in ("address", "localaddress") and re.fullmatch(r"[0-9a-fA-F:.]+(/\d+)?", value):
                    addresses.append(value.partition("/")[0])
    if len(users) + len(addresses) == 2 and not any(one["match"] for one in directives):
        return []
    return [(user, address) for user in users for address in dict.fromkeys(addresses)][:MAX_LOGINS]


def login_settings(binary, directives, port, run):
    """What sshd would grant the logins that Match blocks single out."""
    found = []
    site = [one for one in directives if not ours(one["file"])]
    for user, address in special_logins(site):
        rc, out, dummy = run([binary, "-T", "-C", f"user={user},host={address},addr={address},lport={port}"])
        if rc == 0:
            values = {key: value for key, value in settings(out).items() if key in LOGIN_KEYWORDS}
            found.append({"user": user, "address": address, "settings": values})
    return found


# --- all of it


def server(run):
    """The facts about the SSH server."""
    binary = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
    if not binary:
        none = dict.fromkeys(("listeners", "listen", "ports", "command_lines", "logins", "host_keys"), [])
        config = dict(path=SERVER_CONFIG, text=None, files=[], directives=[], **owner_and_mode(SERVER_CONFIG))
        return dict(none, installed=False, valid=True, version=[], effective={}, config=config)
    said = "".join(run([binary, "-V"])[1:])
    version = re.search(r"OpenSSH_(\d+)\.(\d+)[^\s,]*", said)
    config = config_facts(SERVER_CONFIG, DROPINS[SERVER_CONFIG], ("match",))
    rc, out, error = run([binary, "-T", *ANY_PORT])
    effective = settings(out) if rc == 0 else {}
    # -T says nothing about host keys that are missing; an image has none, and no /run/sshd, before its first boot
    test_rc, dummy, test_error = run([binary, "-t"])
    error = (error if rc else test_error).strip()
    unready = "no hostkeys available" in error or "privilege separation directory" in error
    running, known_units = listeners(), units(run)
    active = [name for name, unit in known_units.items() if unit["active"]]
    listen = [list(address) for one in running for address in one["listen"]]
    if not listen:
        for name in active:
            for value in known_units[name]["listen"] if name.endswith(".socket") else []:
                host, dummy, port = value.rpartition(":")
                listen.append([host.strip("[]") or "::", int(port)] if port.isdigit() else [value, 0])
    set_by = {
        keyword: [one["value"] for one in config["directives"] if one["keyword"] == keyword] for keyword in REPEATED
    }
    ports = sorted({port for dummy, port in listen if port})
    keys = set_by["hostkey"] or DEFAULT_HOST_KEYS
    on_disk = sorted(glob.glob("/etc/ssh/ssh_host_*_key"))
    return dict(
        installed=True,
        binary=binary,
        version=[int(part) for part in version.groups()] if version else [],
        version_text=version.group(0) if version else "",
        service=next((name for name in active if name.endswith(".service")), ""),
        socket=next((name for name in active if name.endswith(".socket")), ""),
        pid_file="" if effective.get("pidfile", "none") == "none" else effective["pidfile"],
        listeners=running,
        listen=[{"address": host, "port": port} for host, port in listen],
        ports=ports,
        command_lines=command_lines(running, known_units),
        valid=rc == 0 and test_rc == 0 or unready,
        error=error if rc or test_rc else "",
        effective=effective,
        logins=login_settings(binary, config["directives"], ports[0] if ports else 22, run),
        config=config,
        host_keys=[dict(host_key(path, run), used=path in keys) for path in dict.fromkeys(keys + on_disk)],
        host_certificates=[
            {"path": path, "type": "".join((read(path) or "").split()[:1])} for path in set_by["hostcertificate"]
        ],
    )


def collect(run):
    """The survey's `ssh`. `run(argv)` gives (rc, stdout, stderr)."""
    facts = server(run)
    client = bool(shutil.which("ssh", path="/usr/bin:/usr/local/bin:/bin"))
    facts["algorithms"] = {
        kind: run(["ssh", "-Q", query])[1].split() if client else []
        for kind, query in (("kex", "kex"), ("cipher", "cipher"), ("mac", "mac"), ("signature", "key-sig"))
    }
    facts["client"] = {"installed": client}
    if client:
        facts["client"]["config"] = config_facts(CLIENT_CONFIG, DROPINS[CLIENT_CONFIG], ("host", "match"), client=True)
    return facts
