# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role mfa, judged by conversations: real sshd, sudo, su and login, real codes, software hardware keys."""

from __future__ import annotations

import base64
import datetime
import json
import os
import pathlib
import re
import sys
import time

import pexpect
import pytest
from hardened import run
from lab import container

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/lab/lab.py"
STATE = ROOT / ".cache/lab"
KEYS = STATE / "keys"
# OpenSSH's own software authenticator, of Debian's openssh-tests
AUTHENTICATOR = "/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so"
PASSWORD = "Correct-horse-1"  # of everybody here who has one
SEALED_CODES = ["31415926", "27182818"]
DROPIN = "/etc/ssh/sshd_config.d/00-rampart-mfa.conf"
WAIT = 20  # seconds for which six tries lock a person out here
TODAY = datetime.datetime.now(datetime.UTC).date()
# One person a question, so that no test has to wait for the next code
PEOPLE = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory")
UNENROLLED = ("bob", "mallory")
MANIFEST = r"""
find /etc /usr/local /usr/share/pam-configs /var/lib/pam ! -path '/etc/*-' ! -path /etc/ld.so.cache \
    -printf '%p %M %U %G %l\n' -type f -exec sha256sum {} \; | sort
"""


def secret_of(name):
    """A secret for each person, the same in every run."""
    return base64.b32encode(f"rampart lab {name:>9}"[:20].encode()).decode()


def code(name, ago=0):
    """What the person's authenticator shows, or showed some seconds ago."""
    when = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ago)
    stamp = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    return run("oathtool", "--totp", "--base32", secret_of(name), "--now", stamp).stdout.strip()


USED = {}


def fresh(name):
    """A code that is right and was not used yet; one step on either side of the present is."""
    while True:
        now = time.time()
        for step in (now // 30, now // 30 + 1, now // 30 - 1):
            if step not in USED.setdefault(name, set()) and step * 30 + 57 > now:
                USED[name].add(step)
                return code(name, ago=now - step * 30 - 1)
        time.sleep(1)


def wrong(name):
    return f"{(int(code(name)) + 111111) % 10**6:06}"


def make_keys(folder):
    """A key pair for each person, and hardware keys for two of them: unlocked for each login, or only touched."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "SSH_SK_PROVIDER": AUTHENTICATOR}
    for name in (*PEOPLE, "machine"):
        if not (folder / name).exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    for name, options in (("carol-sk", ["-O", "verify-required"]), ("carol-touch", []),
                          ("dave-sk", ["-O", "verify-required"])):  # fmt: skip
        if not (folder / name).exists():
            run("ssh-keygen", "-q", "-t", "ed25519-sk", "-N", "", *options, "-f", folder / name, env=env)


def public(path):
    return path.with_name(path.name + ".pub").read_text(encoding="utf-8").strip()


class Host:
    """A lab host, its policy, and the ways to talk to it."""

    def __init__(self, name, image):
        self.name = name
        run(sys.executable, LAB, "host", "down", name, check=False)
        run(sys.executable, LAB, "host", "up", name, "--image", image)
        self.state = STATE / "hosts" / name
        self.keys = STATE / "mfa-keys"
        inventory = json.loads((self.state / "inventory.yml").read_text(encoding="utf-8"))
        variables = inventory["all"]["children"]["jump"]["hosts"][name]
        self.address = variables["ansible_host"]
        variables.update(ansible_user="automation", ansible_ssh_private_key_file=str(KEYS / "automation"))
        hashed = run("openssl", "passwd", "-6", "-stdin", input=PASSWORD).stdout.strip()
        factors = {"carol": ["key"], "dave": ["key", "totp"]}
        plugged_in = {person: {"u2f": [":a2V5aGFuZGxl,cHVibGlja2V5,es256,+presence"]} for person in ("carol", "grace")}
        owned = {"carol": ["carol", "carol-sk", "carol-touch"], "dave": ["dave", "dave-sk"]}
        self.policy = inventory["all"]["vars"] | {
            "hardening_admins": [
                {"name": person, "password_hash": hashed, "sudo": person != "carol",
                 "ssh_keys": [public(self.keys / key) for key in owned.get(person, [person])],
                 **({"mfa": factors[person]} if person in factors else {}), **plugged_in.get(person, {})}
                for person in PEOPLE
            ],
            "hardening_break_glass": {"name": "sealed", "password_hash": hashed},
            "hardening_totp_secrets": {
                person: {"secret": secret_of(person), "scratch_codes": ["55555555"]}
                for person in PEOPLE if person not in (*UNENROLLED, "carol")
            } | {"sealed": {"secret": secret_of("sealed"), "scratch_codes": SEALED_CODES}},
            "hardening_mfa_grace_until": str(TODAY + datetime.timedelta(days=3)),
            "hardening_mfa_exempt": [{"name": "machine", "from": [f"{self.address}/32"], "reason": "pulls a backup"}],
            "mfa_totp_attempts_seconds": WAIT,
            "admin_accounts_logins": ["machine"],
            "hardening_confirm_timeout": 45,
        }  # fmt: skip
        self.inventory = self.state / "mfa.json"
        self.variables = inventory
        self.write_inventory()

    def write_inventory(self, **changed):
        """The inventory, with some of the policy otherwise."""
        self.variables["all"]["vars"] = self.policy | changed
        self.inventory.write_text(json.dumps(self.variables), encoding="utf-8")

    def sh(self, command, *arguments, check=True):
        return run("podman", "exec", container(self.name), "sh", "-c", command, "sh", *arguments, check=check).stdout

    def play(self, book, *options, check=True, prefix=(), **changed):
        self.write_inventory(**changed)
        argv = [*prefix, "ansible-playbook", f"rampart.hardening.{book}", "-i", self.inventory, *options]
        done = run(*argv, check=check)
        self.write_inventory()
        return done

    def site(self, *options, tags="mfa", **more):
        return self.play("site", "--tags", tags, *options, **more)

    def manifest(self):
        return self.sh(MANIFEST)

    # --- conversations

    @staticmethod
    def talk(argv, answers):
        """(what was asked, what was said at the end, exit status); with no answer left the line goes dead."""
        child = pexpect.spawn(str(argv[0]), [str(word) for word in argv[1:]], encoding="utf-8", timeout=25)
        asked, said, answers = [], "", list(answers)
        while True:
            if child.expect([r"([Cc]ode|[Pp]assword(?: for \w+)?): ?$", pexpect.EOF]) == 1:
                said += child.before
                break
            asked.append(child.match.group(1).split()[0].lower())
            said += child.before
            if not answers:
                break
            child.sendline(answers.pop(0))
        child.close()
        return asked, said, child.exitstatus

    def ssh(self, user, *answers, key=None, command=("id", "-un"), options=()):
        """A login over SSH; how far it got."""
        argv = ["ssh", "-F", "/dev/null", *options, "-i", self.keys / (key or user), "-o", "IdentitiesOnly=yes"]
        argv += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        argv += ["-o", "NumberOfPasswordPrompts=1", "-o", f"SecurityKeyProvider={AUTHENTICATOR}"]
        return self.talk([*argv, f"{user}@{self.address}", *command], answers)

    def gets_in(self, user, *answers, **more):
        asked, said, status = self.ssh(user, *answers, **more)
        self.asked = asked
        assert status != 0 or user in said.split(), said
        return status == 0

    def sudo(self, user, first, *answers, prefix=("sudo", "-k")):
        """sudo in a session that began with the code `first`; what sudo asked, and what it said."""
        asked, said, status = self.ssh(
            user, *([first] if first else []), *answers, command=("-t", *prefix, "id", "-un"),
        )  # fmt: skip
        return asked[1 if first else 0 :], said, status

    def console(self, user, *answers):
        """A login at a terminal of the host; what was asked, and whether there is a shell."""
        argv = ["podman", "exec", "--interactive", "--tty", container(self.name), "login", user]
        child = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=25)
        asked, answers = [], list(answers)
        while True:
            seen = child.expect([r"([Cc]ode|[Pp]assword): ?$", r"incorrect", r"\$ $", pexpect.EOF])
            if seen:
                child.close(force=True)
                return asked, seen == 2
            asked.append(child.match.group(1).lower())
            if not answers:
                child.close(force=True)
                return asked, False
            child.sendline(answers.pop(0))


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request):
    make_keys(STATE / "mfa-keys")
    one = Host(f"mfa-{'12' if request.param == 'bookworm' else '13'}", request.param)
    if request.param == "trixie":  # with a history: sshd reads no drop-ins
        one.sh("sed -i '/^Include/d' /etc/ssh/sshd_config && systemctl reload ssh")
    one.site(tags="admin_accounts,ssh")
    one.sh("useradd --create-home --shell /bin/sh machine && usermod -aG ssh-login machine && "
           "install -d -o machine -m 0700 /home/machine/.ssh && echo \"$1\" >/home/machine/.ssh/authorized_keys && "
           "chown -R machine /home/machine/.ssh", public(one.keys / "machine"))  # fmt: skip
    one.sh("dpkg --purge libpam-google-authenticator")  # so that the role has to install it
    one.before = one.manifest()
    checked = one.site("--check", "--diff")
    assert one.manifest() == one.before
    assert re.search(r"changed=2 ", checked.stdout), checked.stdout
    one.said = one.site("-vvv", "--diff").stdout
    one.sh("echo '* * * * * id -un >/tmp/cron.out' | crontab -u machine - && systemctl restart cron")
    assert f"not enrolled, get in with their key alone until {TODAY + datetime.timedelta(days=3)}: " in one.said
    yield one
    run(sys.executable, LAB, "host", "down", one.name)


# --- SSH


def test_a_second_run_changes_nothing(host):
    for options in ([], ["--check"]):
        assert "changed=0 " in host.site(*options, tags="admin_accounts,ssh,mfa").stdout


def test_key_and_code_let_in_once(host):
    right = fresh("alice")
    assert host.gets_in("alice", right)
    assert host.asked == ["code"]
    assert not host.gets_in("alice", right)


@pytest.mark.parametrize("what", ["none", "wrong", "old"])
def test_a_key_without_the_right_code_does_not(host, what):
    answer = {"none": "", "wrong": wrong("frank"), "old": code("frank", ago=300)}[what]
    assert not host.gets_in("frank", answer)
    assert host.asked == ["code"]


def test_a_code_without_the_key_is_not_even_asked_for(host):
    assert not host.gets_in("alice", fresh("alice"), key="bob")
    assert host.asked == []
    only = ("-o", "PreferredAuthentications=keyboard-interactive")
    assert not host.gets_in("alice", fresh("alice"), options=only)
    assert host.asked == []


def test_a_code_alone_is_refused_by_pam_too(host):
    """Should sshd's part be lost, PAM does not take a code for a login."""
    port = "-o", "Port=2022"
    host.sh("/usr/sbin/sshd -o PidFile=/run/other.pid -o Port=2022 -o AuthenticationMethods=keyboard-interactive "
            "-o KbdInteractiveAuthentication=yes -o 'Match=all' -f /dev/null -o UsePAM=yes "
            "-h /etc/ssh/ssh_host_ed25519_key 2>&1 || "
            "/usr/sbin/sshd -f /dev/null -o PidFile=/run/other.pid -o Port=2022 -o UsePAM=yes "
            "-o AuthenticationMethods=keyboard-interactive -h /etc/ssh/ssh_host_ed25519_key")  # fmt: skip
    try:
        assert not host.gets_in("judy", fresh("judy"), PASSWORD, options=port)
    finally:
        host.sh("kill $(cat /run/other.pid)")
    assert host.gets_in("judy", fresh("judy"))


def test_a_password_is_never_enough(host):
    for method in ("password", "keyboard-interactive", "keyboard-interactive,password"):
        only = ("-o", f"PreferredAuthentications={method}", "-o", "PubkeyAuthentication=no")
        asked, said, status = host.ssh("alice", PASSWORD, PASSWORD, options=only)
        assert status != 0 and asked == [] and "Permission denied (publickey)" in said, said


def test_a_scratch_code_is_good_once(host):
    assert host.gets_in("erin", "55555555")
    assert not host.gets_in("erin", "55555555")
    # and is not put back by the next run
    assert "changed=0 " in host.site().stdout
    assert not host.gets_in("erin", "55555555")


def test_six_wrong_codes_lock_out_for_the_time_said(host):
    for _try in range(6):
        assert not host.gets_in("ivan", wrong("ivan"))
    began = time.monotonic()
    assert not host.gets_in("ivan", fresh("ivan"))
    time.sleep(max(0.0, WAIT + 2 - (time.monotonic() - began)))
    assert host.gets_in("ivan", fresh("ivan"))


def test_whoever_is_not_enrolled_gets_in_until_the_day_and_not_after_it(host):
    assert host.gets_in("bob")
    assert host.asked == []
    assert host.gets_in("bob", options=("-o", "BatchMode=yes"))  # as a program does
    # the host keeps the day itself, without another run
    until = (TODAY + datetime.timedelta(days=3)).strftime("%Y%m%d")
    host.sh("sed -i.run s/$1/20200101/ /etc/pam.d/rampart-mfa", until)
    assert not host.gets_in("bob", options=("-o", "BatchMode=yes"))
    host.sh("mv /etc/pam.d/rampart-mfa.run /etc/pam.d/rampart-mfa")
    yesterday = str(TODAY - datetime.timedelta(days=1))
    said = host.site(hardening_mfa_grace_until=yesterday).stdout
    try:
        assert f"not enrolled, are shut out since {yesterday}: bob, mallory" in said
        assert not host.gets_in("bob")
        assert not host.gets_in("bob", options=("-o", "BatchMode=yes"))
        assert not host.gets_in("mallory", PASSWORD)
        assert host.gets_in("alice", fresh("alice"))
    finally:
        host.site()
    assert host.gets_in("bob")


def test_automation_gets_in_from_where_it_comes_and_from_nowhere_else(host):
    inside = "ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -i /root/k"
    for account, key in (("automation", KEYS / "automation"), ("machine", host.keys / "machine")):
        host.sh('umask 077; printf "%s" "$1" >/root/k', key.read_text(encoding="utf-8"))
        try:
            at_home = host.sh(f"{inside} {account}@{host.address} id -un 2>&1", check=False)
            away = host.sh(f"{inside} {account}@127.0.0.1 id -un 2>&1", check=False)
        finally:
            host.sh("rm /root/k")
        if account == "machine":
            assert account in at_home.split(), at_home
        else:
            assert account not in at_home.split()
        assert account not in away.split()
    assert host.gets_in("automation", options=("-i", KEYS / "automation"))
    assert not host.gets_in("machine")


def test_an_unlocked_hardware_key_is_enough_and_nothing_less(host):
    assert host.gets_in("carol", key="carol-sk")
    assert host.asked == []
    assert not host.gets_in("carol", key="carol-touch")
    assert not host.gets_in("carol", key="carol")
    assert host.asked == []


def test_a_person_with_two_factors_shows_either(host):
    assert host.gets_in("dave", key="dave-sk")
    assert host.asked == []
    assert not host.gets_in("dave", "", key="dave")
    assert host.gets_in("dave", fresh("dave"), key="dave")


# --- sudo, su, console


def test_sudo_asks_for_a_code_and_the_password(host):
    asked, said, status = host.sudo("grace", fresh("grace"), fresh("grace"), PASSWORD)
    assert (asked, status) == (["code", "password"], 0) and "root" in said.split()
    asked, _said, status = host.sudo("grace", fresh("grace"), wrong("grace"), PASSWORD)
    assert status != 0 and asked[:2] == ["code", "password"]


def test_sudo_of_the_unenrolled_asks_for_the_password_until_the_day(host):
    asked, said, status = host.sudo("mallory", "", PASSWORD)
    assert (asked, status) == (["password"], 0) and "root" in said.split()


def test_su_to_root_is_refused(host):
    for answers in ([PASSWORD], ["", PASSWORD], [fresh("alice"), PASSWORD]):
        asked, said, status = host.sudo("bob", "", *answers, prefix=("su", "root", "-c", "id -un"))
        assert status != 0 and "root" not in said.split()


def test_su_to_a_person_asks_for_that_persons_code(host):
    command = ("su", "heidi", "-c", "'id -un'", "#")
    asked, said, status = host.sudo("bob", "", fresh("heidi"), PASSWORD, prefix=command)
    assert (asked, status) == (["code", "password"], 0) and "heidi" in said.split()
    _asked, said, status = host.sudo("bob", "", wrong("heidi"), PASSWORD, prefix=command)
    assert status != 0 and "heidi" not in said.split()


def test_the_console_asks(host):
    assert host.console("judy", fresh("judy"), PASSWORD) == (["code", "password"], True)
    assert host.console("judy", wrong("judy"), PASSWORD) == (["code", "password"], False)


def test_a_key_that_is_not_plugged_in_opens_nothing_and_keeps_nobody_from_another_factor(host):
    """pam_u2f is real and there is no key here; what happens with one is not shown."""
    assert host.console("carol", PASSWORD) == (["password"], False)
    assert host.console("grace", fresh("grace"), PASSWORD) == (["code", "password"], True)


def test_the_sealed_account_opens_the_console_with_a_scratch_code(host):
    assert host.console("sealed", SEALED_CODES[0], PASSWORD) == (["code", "password"], True)
    assert host.console("sealed", SEALED_CODES[0], PASSWORD) == (["code", "password"], False)


# --- evidence

BREAK = """
sed -i 's/^AuthenticationMethods.*/AuthenticationMethods publickey/; s/verify-required/none/' "$1"
printf 'Match User frank\\n AuthenticationMethods publickey\\n' >/etc/ssh/sshd_config.d/00-a.conf
sed -i 's/PubkeyAuthentication no/PubkeyAuthentication yes/' "$1"
systemctl reload ssh
for service in sshd sudo su login; do sed -i '1i auth sufficient pam_permit.so' /etc/pam.d/$service; done
sed -i '/RATE_LIMIT/d' /var/lib/rampart/mfa/totp/alice; chmod 644 /var/lib/rampart/mfa/totp/frank
"""


def verdicts(host, *options, check=True, **more):
    output = host.state / "evidence"
    host.play("verify", "-e", "verify_roles=mfa", "-e", f"verify_output={output}", *options, check=check, **more)
    evidence = json.loads((output / "latest/evidence.json").read_text(encoding="utf-8"))
    return {control: result["verdict"] for control, result in evidence["hosts"][host.name]["results"].items()}


def test_the_evidence_says_so(host):
    found = verdicts(host)
    assert found.pop("mfa.duo") == "na"
    assert set(found.values()) == {"pass"} and len(found) == 8, found
    text = (host.state / "evidence/latest/evidence.json").read_text(encoding="utf-8")
    assert "bob" in text and "mallory" in text
    assert "nobody" not in host.sh("ls /var/lib/rampart/mfa/totp").split()


def test_every_control_is_seen_to_fail(host):
    host.sh("tar -cf /root/whole.tar /etc/pam.d /etc/ssh /var/lib/rampart/mfa")
    host.sh(BREAK, DROPIN)
    yesterday = str(TODAY - datetime.timedelta(days=1))
    try:
        found = verdicts(host, check=False, prefix=["faketime", "-f", "+90s"], hardening_mfa_grace_until=yesterday)
    finally:
        host.sh("rm /etc/ssh/sshd_config.d/00-a.conf; tar -xf /root/whole.tar -C / && systemctl reload ssh")
    assert found.pop("mfa.duo") == "na"
    assert set(found.values()) == {"fail"} and len(found) == 8, found


# --- changes


def test_another_tool_keeps_it(host):
    before = host.sh("cat /etc/pam.d/common-auth")
    host.sh("DEBIAN_FRONTEND=noninteractive pam-auth-update --enable mkhomedir </dev/null")
    assert host.sh("cat /etc/pam.d/common-auth") == before
    host.sh("DEBIAN_FRONTEND=noninteractive pam-auth-update --disable mkhomedir </dev/null")
    again = host.site("--diff").stdout
    assert "changed=0 " in again, again


def test_what_was_taken_out_is_put_back(host):
    host.sh("DEBIAN_FRONTEND=noninteractive pam-auth-update --disable rampart-mfa </dev/null")
    assert not host.gets_in("frank")  # sshd asks PAM, and PAM for a password that is not given
    assert "changed=1 " in host.site().stdout
    assert host.gets_in("frank", fresh("frank"))


def test_a_new_secret_replaces_the_old_and_a_revoked_person_has_none(host):
    changed = dict(host.policy["hardening_totp_secrets"])
    changed["erin"] = {"secret": secret_of("new"), "scratch_codes": []}
    del changed["judy"]
    host.site(hardening_totp_secrets=changed)
    try:
        assert host.gets_in("erin", fresh("new"))
        assert "judy" not in host.sh("ls /var/lib/rampart/mfa/totp").split()
    finally:
        host.site()


def test_a_stack_that_would_refuse_everybody_is_taken_back(host):
    host.play("undo", "-e", "undo=role:mfa")
    assert host.manifest() == host.before
    assert host.gets_in("alice")  # with the key alone, as before
    host.sh("cp /etc/pam.d/sshd /root/sshd.pam; sed -i '1i auth requisite pam_deny.so' /etc/pam.d/sshd")
    try:
        before = host.manifest()
        done = host.site(check=False)
        assert done.returncode and "sshd: an enrolled person is refused" in done.stdout, done.stdout
        assert host.manifest() == before
        assert host.gets_in("alice")
    finally:
        host.sh("cp /root/sshd.pam /etc/pam.d/sshd")


REFUSED = {
    "asked-already": (
        "sed -i '1i auth required pam_oath.so' /etc/pam.d/sshd",
        {}, "/etc/pam.d/sshd:1 asks for a second factor already (pam_oath)",
    ),
    "edited-by-hand": (
        "sed -i '/pam_unix/i auth required pam_faildelay.so delay=1' /etc/pam.d/common-auth",
        {}, "Local modifications to /etc/pam.d/common-*, not updating",
    ),
    "nobody-enrolled": (
        "true", {"hardening_totp_secrets": {}, "hardening_mfa_grace_until": "", "hardening_admins": "without keys"},
        "nobody is enrolled",
    ),
    "somebody-would-be-lost": (
        "true", {"hardening_mfa_grace_until": ""}, "these log in today and have no second factor: bob, mallory",
    ),
    "exempt-person": (
        "true", {"hardening_mfa_exempt": [{"name": "bob", "from": ["192.0.2.1"], "reason": "x"}]}, "bob is a person",
    ),
    "clock": ("true", {}, "seconds behind this controller's"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_end_badly_is_refused_and_nothing_is_changed(host, case):
    command, changed, words = REFUSED[case]
    if "hardening_admins" in changed:
        people = [person for person in host.policy["hardening_admins"] if person["name"] in ("alice", "bob")]
        changed = {**changed, "hardening_admins": people, "hardening_break_glass": {}}
    host.sh("tar -cf /root/pam.tar /etc/pam.d && " + command)
    prefix = ["faketime", "-f", "+90s"] if case == "clock" else []
    try:
        before = host.manifest()
        for options in (["--check"], []):
            done = host.site(*options, check=False, prefix=prefix, **changed)
            assert done.returncode and words in done.stdout, done.stdout[-3000:]
        assert host.manifest() == before
    finally:
        host.sh("tar -xf /root/pam.tar -C /")


def test_cron_goes_on(host):
    """It asks PAM for credentials without a login before; a stack made for logins may refuse that."""
    host.site()
    host.sh("rm -f /tmp/cron.out")
    for _second in range(75):
        time.sleep(1)
        if host.sh("cat /tmp/cron.out 2>/dev/null", check=False).strip() == "machine":
            return
    raise AssertionError(host.sh("journalctl -t CRON --no-pager -n 5"))


def test_undo_takes_it_out_whole(host):
    host.site()
    assert host.gets_in("alice", fresh("alice"))  # the file of her secret is no longer as it was written
    host.play("undo", "-e", "undo=role:mfa")
    assert host.manifest() == host.before
    assert host.gets_in("alice")
    assert host.asked == []


def test_no_secret_is_in_any_output_or_log(host):
    journal = host.sh("journalctl --no-pager; cat /var/log/*.log /var/log/auth.log 2>/dev/null; "
                      "cat /var/lib/rampart/changes/*/change.json")  # fmt: skip
    assert "rampart" in journal
    secrets = [PASSWORD, *SEALED_CODES, "55555555"]
    secrets += [secret_of(person) for person in (*PEOPLE, "sealed", "new") if person not in UNENROLLED]
    evidence = [path.read_text(encoding="utf-8") for path in (host.state / "evidence").rglob("*") if path.is_file()]
    assert len(evidence) >= 3
    for text in (host.said, journal, *evidence):
        found = [secret for secret in secrets if secret in text]
        assert not found, found
