# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys to clouds as programs would read them: files are parsed as what they are (JSON, INI, assignments)."""

from __future__ import annotations

import fnmatch
import json
import shlex

import pytest

# Runs on the host and prints {"found": [[path, kind, owner, mode]], "skipped": [place]}; never a value
SEARCH = r'''
import configparser, json, os, pwd, re, stat, sys, time

LARGEST, DEEPEST, PATIENCE = 256 * 1024, 6, 60
ELSEWHERE = re.compile(r"fuse|nfs|cifs|smb|9p|virtiofs|ceph|gluster|afs|lustre|autofs|proc|sysfs|dev|cgroup|bpf|trace")
NOT_OURS = {".git", ".hg", ".svn", ".cache", ".npm", ".cargo", ".rustup", ".terraform", ".mozilla", ".vscode-server",
            "node_modules", "site-packages", "dist-packages", "__pycache__", "containers", "ca-certificates"}
SYSTEM = ["/etc", "/var/spool/cron", "/var/lib/cloud/instances", "/run/systemd/system", "/usr/local/lib/systemd",
          "/usr/lib/systemd/system"]
EVERYBODYS = re.compile(r"/$|/(bin|boot|dev|etc|lib|proc|run|sbin|sys|usr)(/|$)|"
                        r"/(home|media|mnt|opt|srv|var|var/cache|var/lib|var/spool)$")
TEXTS = re.compile(r"\.|.*\.(json|env|ini|cfg|conf|ya?ml|toml|properties|tfvars|tfstate|csv|sh|txt|xml|service|cache|"
                   r"db|bak|old|orig)$|.*~$|.*(credential|secret|key|token|environ|config|settings)", re.I)
MADE_UP = re.compile(r"\W?[$<{(%*!@\[]|.*(example|changeme|placeholder|redacted|your[-_])|(.)\2*$|"
                     r"/?(run|etc|var|home)/|[a-z_]+(\.[a-z_]\w*)+$|[\w.-]+[\[({]", re.I)


def real(value):
    return isinstance(value, str) and len(value) >= 12 and not re.search(r"\s", value) and not MADE_UP.match(value)


def tables(text, path):
    """The texts as tables of names and values, one for each object, section or file."""
    try:
        todo = [json.loads(text)]
        while todo:
            one = todo.pop()
            if isinstance(one, dict):
                yield one
                todo += one.values()
            elif isinstance(one, list):
                todo += one
        return
    except (ValueError, RecursionError):
        pass
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, empty_lines_in_values=False)
    try:
        parser.read_string(text)
        for section in parser.sections():
            yield dict(parser.items(section))
    except (configparser.Error, TypeError, AttributeError):
        pass
    lines, sections = {}, re.search(r"(?m)^\[", text)
    # what stands after the first = may be an assignment itself, as in a unit
    said = re.findall(r"""(?<![\w-])([\w-]{3,60})["']?[ \t]*[=:][ \t]*["']?(?=([^\s"',;]*))""", text)
    for name, value in said + re.findall(r"\bset[ \t]+(\w{3,60})[ \t]+(\S+)", text):
        # what is in a section was read as such, but for the environment of a unit
        if (not sections or name.isupper()) and not real(lines.get(name)):
            lines[name] = value
    yield lines


def in_table(table):
    said = {re.sub(r"[^a-z]", "", str(key).lower()): value for key, value in table.items()}

    def of(*names):
        return next((said[name] for name in names if said.get(name)), None)

    identity = str(of("awsaccesskeyid", "accesskeyid", "awsaccesskey", "accesskey") or "")
    ended = identity.startswith(("ASIA", "STS.")) or of(
        "awssessiontoken", "sessiontoken", "awssecuritytoken", "securitytoken", "ststoken")
    names = [*(name for name in said if name.endswith("secretaccesskey")), "awssecretkey"]
    names += ["secretkey", "ssecretkey"] if identity else []
    if not ended and any(real(said.get(name)) for name in names):
        yield "aws_access_key"
    if not ended and any(real(said[name]) for name in said if name.endswith(("accesskeysecret", "alicloudsecretkey"))):
        yield "alibaba_access_key"
    app, tenant = of("clientid", "appid", "armclientid"), of("tenantid", "tenant", "armtenantid")
    if any(real(said.get(name)) for name in ("azureclientsecret", "armclientsecret", "aadclientsecret")) or (
            app and tenant and real(of("clientsecret", "secret", *(["password"] if of("appid") else [])))):
        yield "azure_service_principal"
    if said.get("refreshtoken") and (isinstance(said["refreshtoken"], dict) or "authority" in said):
        yield "azure_user_login"
    if said.get("type") == "service_account" and "PRIVATE KEY" in str(said.get("privatekey")):
        yield "gcp_service_account_key"
    if re.match(r"1//?[\w-]{20}", str(of("refreshtoken", "gsoauthrefreshtoken") or "")):
        yield "gcp_user_login"
    if len(str(of("accountkey", "azurestoragekey", "azurestorageaccesskey") or "")) == 88:
        yield "azure_storage_key"


def in_text(text):
    """What is no table: ids beside their keys, one text in another, a database."""
    for kind, identity, length, letters in (("aws_access_key", "AKIA[A-Z0-9]{16}", 40, "[A-Za-z0-9/+]"),
                                            ("alibaba_access_key", "LTAI[A-Za-z0-9]{8,24}", 30, "[A-Za-z0-9]")):
        for near in re.finditer(rf"\b(?:{identity})\b(?<!EXAMPLE)", text):
            around = (text[max(0, near.start() - 300) : near.start()], text[near.end() : near.end() + 300])
            words = [word for side in around for word in re.findall(letters + "+", side) if len(word) == length]
            if any(re.search(r"\d", word) and not re.fullmatch("[0-9a-f]+", word) and real(word) for word in words):
                yield kind
    if "service_account" in text and re.search(r"private_key\W{1,20}BEGIN[A-Z ]* PRIVATE KEY", text):
        yield "gcp_service_account_key"
    if re.search(r"refresh_token\W{1,12}1//?[\w-]{20}", text):
        yield "gcp_user_login"
    if re.search(r"AccountKey=[A-Za-z0-9+/]{86}==", text):
        yield "azure_storage_key"


def in_file(name, directory, path):
    """The kinds in a file, its owner and its mode; and the files that it names."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_size > LARGEST:
            return
        text = file.read(LARGEST).decode("latin-1")
    if re.search(r"(?i)secret|akia|ltai|private_?key|refresh_?token|account_?key|storage|appid", text):
        for kind in {*in_text(text), *(kind for table in tables(text, path) for kind in in_table(table))}:
            try:
                owner = pwd.getpwuid(info.st_uid).pw_name
            except KeyError:
                owner = str(info.st_uid)
            found.add((path, kind, owner, format(stat.S_IMODE(info.st_mode), "04o")))
    for line in re.findall(r"(?m)^\s*EnvironmentFile=-?(/[^\s%]+)", text):
        named.add(line)
    for line in re.findall(r"""(?m)\b[A-Z_]*CREDENTIALS(?:_FILE)?=["']?(/[^\s"'%]+)""", text):
        named.add(line)


def look(top, home):
    if time.monotonic() - began > PATIENCE or any(top == point or top.startswith(point + "/") for point in far):
        skipped.append(top)
        return
    top = os.path.realpath(top)
    if not os.path.isdir(top):
        return
    shared = home and EVERYBODYS.match(top)
    for path, directories, files, descriptor in os.fwalk(top, follow_symlinks=False):
        depth = path[len(top.rstrip("/")):].count("/")
        if shared and path == top:
            directories[:] = [name for name in directories if name.startswith(".")]
            files = [name for name in files if name.startswith(".")]
        directories[:] = sorted(name for name in directories if depth < DEEPEST and name not in NOT_OURS
                                and os.path.join(path, name) not in far)
        for name in files:
            if not home or TEXTS.match(name):
                try:
                    in_file(name, descriptor, os.path.join(path, name))
                except OSError:
                    pass
        if time.monotonic() - began > PATIENCE:
            skipped.append(top)
            return


def search(system, homes):
    for top in system:
        look(top, False)
    for top in sorted(homes):
        look(top, True)
    for path in sorted(named):
        try:
            directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
            in_file(os.path.basename(path), directory, path)
            os.close(directory)
        except OSError:
            pass


found, skipped, named, far, began = set(), [], set(), set(), time.monotonic()


def main():
    for line in open("/proc/self/mountinfo", encoding="latin-1"):
        kind, point = line.partition(" - ")[2].split()[0], line.split()[4]
        if ELSEWHERE.match(kind) and point != "/":
            far.add(re.sub(r"\\(\d\d\d)", lambda code: chr(int(code[1], 8)), point))
    homes = {os.path.normpath(entry.pw_dir) for entry in pwd.getpwall()} | {
        "/home/" + name for name in os.listdir("/home")}
    search(SYSTEM, {home for home in homes if home.startswith("/") and not home.startswith(("/dev", "/proc", "/sys"))})
    print(json.dumps({"found": sorted(found), "skipped": skipped}))
'''


@pytest.mark.control("cloud.no_static_keys")
def test_no_static_keys(host, policy, evidence):
    seen = json.loads(host.check_output("python3 -c " + shlex.quote(SEARCH + "\nmain()")))
    allowed = [one["path"] for one in policy.get("cloud_allowed", []) if one.get("reason")]
    bad = [
        f"{path!r}: {kind}, {owner} {mode}"
        for path, kind, owner, mode in seen["found"]
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in allowed)
    ]
    said = f"{len(seen['found'])} files with long-lived keys, {len(bad)} of them not allowed"
    bad[50:] = [f"and {len(bad) - 50} more"] if len(bad) > 50 else []
    evidence("\n".join([said, *bad, *(f"not looked at: {place}" for place in seen["skipped"])]))
    assert not bad, "long-lived keys to clouds lie in\n" + "\n".join(bad)
