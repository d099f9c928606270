# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second factors as they are asked for: PAM and the real programs are talked to, as somebody who has a secret.

That somebody is `nobody`, who has no key, no password and no shell, and has a secret for the moment of a question only.
What people have is not touched: a try would be counted against them.
"""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import time

import pytest
from factors import DUO, SECRETS, day, enrolment, exempt, factors, grace, hardware, key_alone
from ssh_logins import ELSEWHERE, Login, ask, attempt
from testinfra.host import Host

# Others of pam_duo's own open holes (groups, noverify, …), and one that it does not know lets everybody in
DUO_KEYS = {
    "failmode", "host", "ikey", "skey", "cafile", "http_proxy", "prompts", "https_timeout", "autopush", "pushinfo",
}  # fmt: skip
TALK = pathlib.Path(__file__).with_name("talk.py")


def talk(host: Host, *questions: dict) -> list[dict]:
    """What the live system asks `nobody`, and whether it lets them in."""
    say = shlex.quote(json.dumps(questions))
    script = shlex.quote(TALK.read_text(encoding="utf-8"))
    return json.loads(host.check_output(f"printf %s {say} | python3 -I -c {script} {SECRETS}/nobody"))


def codes(host: Host) -> bool:
    """Whether PAM on this host asks for codes at all; hardware keys and Duo need none."""
    return host.run("grep -rqs '^auth.*pam_google_authenticator' /etc/pam.d").rc == 0


def open_chains(login: Login) -> list[str]:
    """The combinations of methods that sshd would take from this login."""
    ways = {"publickey": "pubkey", "password": "password", "keyboard-interactive": "kbdinteractive"}
    return [
        chain
        for chain in login.settings["authenticationmethods"].split()
        if all(login.settings.get(f"{ways.get(step)}authentication") != "no" for step in chain.split(","))
    ]


def code_first(one: dict) -> bool:
    return bool(one["asked"]) and "code" in one["asked"][0].lower()


# --- where it is asked for


@pytest.mark.control("mfa.ssh")
def test_ssh(sshd, policy, logins, evidence):
    asked: dict[str, list[str]] = {}
    for login in logins:
        asked.setdefault(login.settings["authenticationmethods"], []).append(str(login))
    evidence({methods: len(who) for methods, who in asked.items()})
    spared = key_alone(sshd, policy)
    alone = [
        str(login)
        for login in logins
        if login.settings["authenticationmethods"] != "publickey,keyboard-interactive" and login.user not in spared
    ]
    assert not alone, f"a key is enough for {', '.join(alone[:5])}"
    said = attempt(sshd)
    assert re.search(r"Permission denied \(publickey\)", said), f"without a key: {said}"


@pytest.mark.control("mfa.ssh")
def test_ssh_conversation(sshd, policy, evidence):
    without, *rest = talk(
        sshd, {"service": "sshd", "code": "none", "key": True}, {"service": "sshd", "code": "right", "key": True},
        {"service": "sshd", "code": "wrong", "key": True}, {"service": "sshd", "code": "right", "key": False},
    )  # fmt: skip
    words = ("not enrolled", "key and right code", "key and wrong code", "right code without key")
    evidence({word: "let in" if one["in"] else "refused" for word, one in zip(words, [without, *rest], strict=True)})
    assert without["in"] == grace(policy), "somebody who has not enrolled is " + (
        "let in" if without["in"] else "refused"
    )
    if codes(sshd):
        right, wrong, keyless = rest
        assert code_first(right), f"asked for: {right['asked']}"
        assert right["in"], "the right code is refused"
        assert not wrong["in"], "a wrong code is let in"
        assert not keyless["in"], "a code is let in where no key came before it"


@pytest.mark.control("mfa.sudo")
def test_sudo(host, policy, evidence, not_applicable):
    programs = {"sudo": ["sudo", "-k", "true"], "su": ["su", "-s", "/bin/true", "nobody"]}
    programs = {name: argv for name, argv in programs.items() if host.run(f"command -v {name}").rc == 0}
    if not programs:
        not_applicable("there is neither sudo nor su")
    asked = talk(host, *({"program": argv, "code": "right", "user": True} for argv in programs.values()))
    evidence({name: one["asked"] or one["said"] for name, one in zip(programs, asked, strict=True)})
    for name, one in zip(programs, asked, strict=True):
        if not one["asked"] and re.search(r"^su: .*(denied|refused)", one["said"]):
            continue  # only members of a group may call it at all
        if codes(host):
            assert code_first(one), f"{name} does not ask for a code first: {one['asked']}"
            assert len(one["asked"]) > 1, f"{name} does not ask for a password after the code"
    free = [
        person
        for person in factors(policy)
        if re.search(r"NOPASSWD:\s*ALL", host.run(f"sudo -n -l -U {shlex.quote(person)}").stdout)
    ]
    assert not free, f"sudo asks {', '.join(free)} for nothing"


@pytest.mark.control("mfa.console")
def test_console(host, evidence, not_applicable):
    if host.run("command -v login").rc != 0:
        not_applicable("there is no login program")
    (one,) = talk(host, {"program": ["login", "nobody"], "code": "right", "user": False})
    evidence({"login": one["asked"]})
    if codes(host):
        assert code_first(one), f"the console does not ask for a code first: {one['asked']}"
        assert len(one["asked"]) > 1, "the console does not ask for a password after the code"


# --- the factors


@pytest.mark.control("mfa.totp")
def test_totp(host, evidence, not_applicable):
    listed = host.run(f"cd {SECRETS} 2>/dev/null && stat -c '%n %U %a' . *").stdout.splitlines()
    people = [line.split()[0] for line in listed[1:] if line.split()[0] != "*"]
    if not people:
        not_applicable("nobody has a secret on this host")
    evidence(listed)
    exposed = [line for line in listed if not re.fullmatch(r"\. root 700|\S+ root 4?00|\S+ root 600", line)]
    assert not exposed, f"not root's alone: {', '.join(exposed)}"
    wrong = []
    for name in people:  # the options only: the first line is the secret
        options = host.check_output(f"grep -a '^\"' {SECRETS}/{shlex.quote(name)}")
        limit = re.search(r'^" RATE_LIMIT (\d+) (\d+)', options, re.MULTILINE)
        window = re.search(r'^" WINDOW_SIZE (\d+)', options, re.MULTILINE)
        if not limit or not 1 <= int(limit[1]) <= 10 or int(limit[2]) < 20:
            wrong.append(f"{name}: codes can be tried without end")
        if not re.search(r'^" DISALLOW_REUSE', options, re.MULTILINE):
            wrong.append(f"{name}: a code is good twice")
        if not re.search(r'^" TOTP_AUTH', options, re.MULTILINE):
            wrong.append(f"{name}: codes do not depend on the time")
        if not window or int(window[1]) > 5:
            wrong.append(f"{name}: more than 5 codes are right at once")
    assert not wrong, "; ".join(wrong)


@pytest.mark.control("mfa.hardware_keys")
def test_hardware_keys(sshd, policy, evidence, not_applicable):
    people = hardware(policy)
    if not people:
        not_applicable("nobody's factor is a hardware key")
    found = ask(sshd, [(name, address) for name in people for address in ELSEWHERE])
    keywords = ("authenticationmethods", "pubkeyauthoptions", "pubkeyacceptedalgorithms")
    evidence({str(login): {keyword: login.settings.get(keyword) for keyword in keywords} for login in found})
    for login in found:
        assert "verify-required" in login.settings["pubkeyauthoptions"], f"{login}: the key need not be unlocked"
        accepted = login.settings["pubkeyacceptedalgorithms"].split(",")
        if login.settings["authenticationmethods"] == "publickey":
            other = [name for name in accepted if not name.startswith("sk-")]
            assert not other, f"{login}: keys out of hardware are enough: {', '.join(other)}"


@pytest.mark.control("mfa.duo")
def test_duo(host, policy, evidence, not_applicable):
    people = [name for name, has in factors(policy).items() if "duo" in has]
    if not people:
        not_applicable("nobody's factor is Duo")
    mode = host.run(f"stat -c '%U %a' {DUO}").stdout.strip()
    keys = re.findall(r"(?m)^\s*(\w+)\s*=", host.check_output(f"sed 's/=.*/=/' {DUO}"))  # no value leaves the host
    stops = host.check_output(f"sed -n 's/^failmode *= *//p' {DUO}").split()
    odd = host.check_output(
        f"awk 'length >= 200 || /=[ \\t]*$/ || (/^[ \\t]*\\[/ && !/\\]/) {{print FNR}}' {DUO}"
    ).split()
    evidence({"owner and mode": mode, "keys": keys, "failmode": stops, "people": people})
    assert mode == "root 600", f"pam_duo lets everybody in with a configuration that is {mode}"
    assert keys[:1] == ["failmode"], "failmode is not the first that pam_duo reads"
    assert set(keys) <= DUO_KEYS, f"not to be there: {', '.join(sorted(set(keys) - DUO_KEYS))}"
    assert len(keys) == len(set(keys)), "a key stands there twice"
    assert not odd, f"lines that pam_duo does not read as they look: {', '.join(odd)}"
    wanted = (policy.get("hardening_duo") or {}).get("failmode", "secure")
    assert stops == [wanted], f"while Duo cannot be reached it does not hold: {stops}"
    assert host.run("grep -rqs '^auth.*pam_duo' /etc/pam.d").rc == 0, "PAM does not ask Duo"


# --- who shows one


@pytest.mark.control("mfa.exempt")
def test_exempt(sshd, policy, logins, evidence):
    spared = exempt(policy)
    evidence(spared)
    found = ask(sshd, [(name, address) for name in spared for address in (*ELSEWHERE, "127.0.0.1")])
    anywhere = [str(login) for login in found if open_chains(login)]
    assert not anywhere, f"exempt wherever they come from: {', '.join(anywhere[:5])}"
    people = {*factors(policy), "root"}
    assert not people & set(spared), f"people are exempt: {', '.join(sorted(people & set(spared)))}"
    allowed = key_alone(sshd, policy)
    others = [
        str(login)
        for login in logins
        if login.settings["authenticationmethods"] == "publickey" and login.user not in allowed
    ]
    assert not others, f"exempt though nobody said so: {', '.join(others[:5])}"


@pytest.mark.control("mfa.enrolled")
def test_enrolled(host, policy, evidence):
    enrolled = enrolment(host, policy)
    without = sorted(name for name, found in enrolled.items() if not found)
    until = f"get in with their key until {day(policy)}" if grace(policy) else "cannot log in"
    evidence(
        {"enrolled": {name: found for name, found in enrolled.items() if found}, f"not enrolled, {until}": without}
    )
    assert not without or grace(policy), f"not enrolled: {', '.join(without)}"


@pytest.mark.control("mfa.clock")
def test_clock(host, evidence):
    before = time.time()
    seen = float(host.check_output("date +%s.%N"))
    after = time.time()
    off = min(0.0, seen - before) or max(0.0, seen - after)
    kept = host.run("timedatectl show -p NTPSynchronized --value").stdout.strip()
    evidence({"seconds off": round(off, 1), "synchronized": kept or "not known"})
    assert abs(off) <= 30, f"the clock is {off:.0f} seconds off, and codes are right for 30"
