# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Duo as the second factor, by real logins with the real pam_duo; only the service is a double (duo_server.py)."""

from __future__ import annotations

import sys

import pexpect
import pytest
from duo import Duo
from duo_server import PASSCODE, SKEY
from hardened import run
from test_mfa import LAB, PASSWORD, STATE, Host, fresh, make_keys, verdicts

CONF = "/etc/rampart/mfa/duo.conf"
STACK = "/etc/pam.d/rampart-mfa"
# What the service does, and whether pam_duo then lets in where failmode is secure, and where it is safe
OUTCOMES = {
    "allow": (True, True),
    "deny": (False, False),
    "bypass": (True, True),  # by the service's own policy, which failmode has no say in
    "locked": (False, False),
    "enroll": (False, False),
    "no-phone": (False, False),
    "stopped": (False, True),
    "slow": (False, True),
    "bad-signature": (False, True),
    "401": (False, True),
    "500": (False, True),
    "garbage": (False, True),
    "wrong-ca": (False, True),
    "wrong-name": (False, True),
    # these are refusals, whatever failmode says
    "403": (False, False),
    "429": (False, False),
    "fail": (False, False),
    "401-later": (False, False),
    "500-later": (False, False),
    # a person who takes longer than https_timeout to look at the phone
    "slow-later": (True, True),
}
# What makes pam_duo let everybody in though failmode is secure, and what the service does meanwhile
TRAPS = {
    "readable by others": (f"chmod 644 {CONF}", "deny"),
    "missing": (f"rm {CONF}", "deny"),
    "empty": (f": >{CONF}", "deny"),
    "an unknown key before failmode": (f"sed -i '1i nonsense = 1' {CONF}", "deny"),
    "failmode that is no word of its": (f"sed -i 's/^failmode.*/failmode = Secure/' {CONF}", "deny"),
    "a section that does not end": (f"sed -i '1i [duo' {CONF}", "deny"),
    "a comment that does not fit into a line": (f'sed -i "1i # $(printf %0200d 0)" {CONF}', "deny"),
    "another failmode at the end": (f"echo failmode = safe >>{CONF}", "stopped"),
    "only for a group": (f"echo groups = nobody-at-all >>{CONF}", "deny"),
    "no look at the certificate": (f"echo noverify = yes >>{CONF}", "wrong-ca"),
    "no certificates to look for": (f"sed -i 's/^cafile.*/cafile =/' {CONF}", "wrong-ca"),
}


class DuoHost(Host):
    """Alice's factor is Duo, and nothing else; the others have what they have in test_mfa."""

    def __init__(self, name, image):
        super().__init__(name, image)
        for person in self.policy["hardening_admins"]:
            if person["name"] == "alice":
                person["mfa"] = ["duo"]
        self.failmode("secure")

    def failmode(self, word):
        self.policy["hardening_duo"] = Duo.variables(failmode=word, autopush=True, prompts=1)

    def answers(self, answer):
        """Whether alice gets in with this answer to Duo's question."""
        options = "BatchMode=no StrictHostKeyChecking=no UserKnownHostsFile=/dev/null NumberOfPasswordPrompts=1"
        argv = ["-F", "/dev/null", *(word for one in options.split() for word in ("-o", one))]
        argv += ["-i", str(self.keys / "alice"), f"alice@{self.address}", "id", "-un"]
        child = pexpect.spawn("ssh", argv, encoding="utf-8", timeout=25)
        child.expect(r"Passcode or option \(1-2\): ")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        return child.exitstatus == 0


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request):
    make_keys(STATE / "mfa-keys")
    one = DuoHost(f"duo-{'12' if request.param == 'bookworm' else '13'}", request.param)
    one.site(tags="admin_accounts,ssh")
    one.duo = Duo(one)
    one.said = one.site("-vvv", "--diff").stdout
    yield one
    run(sys.executable, LAB, "host", "down", one.name)


@pytest.fixture
def conf(host):
    """The configuration and the stack, to be spoilt."""
    host.sh(f"tar -cf /root/duo.tar {CONF} {STACK}")
    yield
    host.sh("tar -xf /root/duo.tar -C /")


@pytest.mark.parametrize("failmode", ["secure", "safe"])
def test_who_gets_in_when_the_service_does_what(host, failmode):
    host.failmode(failmode)
    try:
        host.site()
        found = {}
        for mode in OUTCOMES:
            host.duo.mode(mode)
            found[mode] = host.gets_in("alice")
            assert host.asked == []  # there is nothing to answer: the phone rings
        assert found == {mode: outcome[failmode == "safe"] for mode, outcome in OUTCOMES.items()}
    finally:
        host.failmode("secure")
        host.site()


def test_what_the_service_is_told(host):
    host.duo.mode("allow")
    assert host.gets_in("alice")
    announced, asked = host.duo.asked()
    assert announced["call"] == "preauth" and asked["call"] == "auth"
    assert announced["arguments"]["user"] == asked["arguments"]["user"] == "alice"
    assert announced["arguments"]["failmode"] == "closed"
    assert asked["arguments"]["auto"] == "push1"


def test_nobody_elses_phone_rings_and_no_phone_without_the_key(host):
    host.duo.mode("allow")
    assert not host.gets_in("alice", key="bob")
    assert host.gets_in("frank", fresh("frank"))
    assert host.asked == ["code"]
    assert host.duo.asked() == []


def test_a_passcode_where_the_phone_is_not_rung(host, conf):
    host.sh(f"sed -i 's/^autopush.*/autopush = no/' {CONF}; sum=$(sha256sum <{CONF}); "
            f"sed -i \"s/ [0-9a-f]\\{{64\\}}$/ ${{sum%  -}}/\" {STACK}")  # fmt: skip
    host.duo.mode("allow")
    for answer, outcome in ((PASSCODE, True), ("000000", False), ("1", True), ("", False)):
        assert host.answers(answer) == outcome, answer


@pytest.mark.parametrize("trap", TRAPS)
def test_what_makes_pam_duo_let_everybody_in_lets_nobody_in(host, conf, trap):
    spoil, mode = TRAPS[trap]
    host.duo.mode(mode)
    assert not host.gets_in("alice")
    host.sh(spoil)
    assert not host.gets_in("alice")
    # and it is the look at the configuration that does it: with pam_duo alone she is in
    host.sh(f"sed -i 's/pam_exec.so.* duo .*/pam_permit.so/' {STACK}")
    assert host.gets_in("alice")


@pytest.mark.parametrize("trap", ["readable by others", "missing", "an unknown key before failmode"])
def test_it_is_seen_and_mended(host, conf, trap):
    host.sh(TRAPS[trap][0])
    assert verdicts(host, check=False)["mfa.duo"] == "fail"
    assert "changed=1 " in host.site().stdout
    assert verdicts(host)["mfa.duo"] == "pass"


def test_sudo_rings_once_more_and_asks_for_the_password(host):
    host.duo.mode("allow")
    asked, said, status = host.sudo("alice", "", PASSWORD)
    assert (asked, status) == (["password"], 0) and "root" in said.split()
    assert [call["arguments"]["user"] for call in host.duo.asked() if call["call"] == "auth"] == ["alice", "alice"]


def test_su_does_not_ring_the_callers_phone(host):
    """pam_duo asks about whoever calls su: with alice's password, frank's own phone would make him alice."""
    host.duo.mode("allow")
    command = ("su", "alice", "-c", "'id -un'", "#")
    __, said, status = host.sudo("frank", fresh("frank"), PASSWORD, prefix=command)
    assert status != 0 and "alice" not in said.split()
    assert host.duo.asked() == []


def test_undo_takes_it_out(host):
    again = host.site("--diff").stdout
    assert "changed=0 " in again, again
    host.play("undo", "-e", "undo=role:mfa")
    assert host.gets_in("alice")
    assert host.asked == []
    assert "pam_duo" not in host.sh("cat /etc/pam.d/*")
    assert "duo.conf" not in host.sh("ls /etc/rampart/mfa 2>/dev/null || true")
    host.site()


def test_the_secret_key_is_in_no_output_or_log(host):
    journal = host.sh("journalctl --no-pager; cat /var/lib/rampart/changes/*/change.json")
    assert "rampart" in journal
    assert SKEY not in host.said and SKEY not in journal
