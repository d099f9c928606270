# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role bastion, judged by whether bytes pass: to what is declared, from whom, and what is known of it after."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import pexpect
import pytest
from hardened import run
from lab import container, totp_secrets

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/lab/lab.py"
STATE = ROOT / ".cache/lab"
KEYS = STATE / "keys"
TAGS = "admin_accounts,ssh,mfa,bastion"
DROPIN = "/etc/ssh/sshd_config.d/00-rampart-bastion.conf"
IDLE = 6  # seconds, for shells
# A partner whose command the host forces, tunnels that the site permits, and a database that greets
HISTORY = r"""
useradd --create-home partner; install -d -m 0700 -o partner /home/partner/.ssh
cp /root/.ssh/test.pub /home/partner/.ssh/authorized_keys; chown -R partner /home/partner/.ssh
printf 'Match User partner\n ForceCommand internal-sftp\n PermitOpen any\n AllowTcpForwarding yes\n' \
    >/etc/ssh/sshd_config.d/50-site.conf
systemctl reload ssh
"""
SERVICE = r"""
cat >/root/greeter.py <<'END'
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    client.sendall(f"greeting {sys.argv[1]}\n".encode())
    client.close()
END
for port in 3306 5432; do systemd-run --quiet --unit=greeter-$port python3 /root/greeter.py $port; done
"""
MANIFEST = r"""
find /etc /usr/local ! -path '/etc/*-' ! -path /etc/ld.so.cache -printf '%p %M %U %G %l\n' \
    -type f -exec sha256sum {} \; | sort
"""


def sh(name, command, check=True):
    return run("podman", "exec", container(name), "sh", "-c", command, check=check).stdout


def up(name, image):
    run(sys.executable, LAB, "host", "down", name, check=False)
    return run(sys.executable, LAB, "host", "up", name, "--image", image).stdout.strip()


class Jump:
    """One or two jump servers in front of one host, which has a declared database on 3306 and another on 5432."""

    def __init__(self, names, image, target):
        self.target, self.addresses = target, {name: up(name, image) for name in names}
        self.name = names[0]
        self.inventory = STATE / "hosts" / self.name / "bastion.json"
        written = json.loads((STATE / "hosts" / self.name / "inventory.yml").read_text(encoding="utf-8"))
        policy = written["all"]["vars"]
        host = written["all"]["children"]["jump"]["hosts"][self.name]
        keys = {name: (KEYS / f"{name}.pub").read_text(encoding="utf-8").strip() for name in ("alice", "bob")}
        host |= {"ansible_user": "automation", "ansible_ssh_private_key_file": str(KEYS / "automation"),
                 "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no"}  # fmt: skip
        policy |= {
            "hardening_admins": [{"name": "alice", "ssh_keys": [keys["alice"]], "state": "present"},
                                 {"name": "bob", "ssh_keys": [keys["bob"]], "sudo": False}],
            "hardening_totp_secrets": {},
            "hardening_mfa_grace_until": str(datetime.date.today() + datetime.timedelta(days=9)),
            "hardening_flows": [{"from": "controllers", "to": "all", "port": 22},
                                {"from": "jump", "to": "web", "port": 22}, {"from": "jump", "to": "db", "port": 3306}],
            "hardening_confirm_timeout": 45,
            "bastion_idle_shell": IDLE,
        }  # fmt: skip
        behind = {"behind": {"ansible_host": target, "hardening_addresses": [target]}}
        jumps = {
            name: host | {"ansible_host": address, "hardening_addresses": [address]}
            for name, address in self.addresses.items()
        }
        children = {"jump": {"hosts": jumps}, "web": {"hosts": behind}, "db": {"hosts": behind}}
        self.inventory.write_text(json.dumps({"all": {"vars": policy, "children": children}}), encoding="utf-8")

    def play(self, book, *options, check=True):
        return run("ansible-playbook", f"rampart.hardening.{book}", "-i", self.inventory, *options, check=check)

    def site(self, *options, tags=TAGS, check=True):
        return self.play("site", "--limit", "jump", "--tags", tags, *options, check=check)

    def ssh(self, person, *options, name=None):
        argv = ["ssh", "-F", "/dev/null", "-i", KEYS / {"partner": "test"}.get(person, person), "-o", "LogLevel=ERROR"]
        argv += ["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        address = self.addresses[name or self.name]
        return [str(word) for word in [*argv, "-o", "PasswordAuthentication=no", "-l", person, *options, address]]

    def passes(self, person, target, port):
        """What a client hears that asks the jump server for a connection (ssh -W, as ssh -J does)."""
        place = f"[{target}]:{port}"
        client = subprocess.Popen(self.ssh(person, "-W", place), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            return client.communicate(timeout=5)[0].decode(errors="replace")
        except subprocess.TimeoutExpired as waits:  # sshd waits for our greeting
            client.kill()
            client.communicate()
            return (waits.stdout or b"").decode(errors="replace")

    def does(self, person, *words, options=()):
        done = run(*self.ssh(person, *options), *words, check=False, timeout=25)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def target():
    address = up("bast-t", "bookworm")
    sh("bast-t", SERVICE)
    yield address
    run(sys.executable, LAB, "host", "down", "bast-t")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def jump(request, target):
    one = Jump([f"bast-{'12' if request.param == 'bookworm' else '13'}"], request.param, target)
    run("podman", "cp", KEYS / "test.pub", f"{container(one.name)}:/root/.ssh/test.pub")
    sh(one.name, HISTORY)
    one.site(tags="admin_accounts,ssh,mfa")
    one.before = sh(one.name, MANIFEST)
    one.fail2ban = request.param == "bookworm"  # which is to be installed; the sshd of Debian 13 needs none
    one.packages = packages(one)
    checked = one.site("--check", "--diff", tags="bastion")
    assert f"changed={1 + one.fail2ban} " in checked.stdout
    assert sh(one.name, MANIFEST) == one.before
    one.said = one.site(tags="bastion").stdout
    yield one
    run(sys.executable, LAB, "host", "down", one.name)


def packages(jump):
    return set(sh(jump.name, "dpkg-query --show --showformat '${Package}\\n'").split())


def log(jump, *wanted):
    """The log of passages, once it has what is wanted: it is written a second later."""
    for _try in range(30):
        text = sh(jump.name, "cat /var/log/rampart/passages.log 2>/dev/null", check=False)
        if all(re.search(pattern, text) for pattern in wanted):
            break
        time.sleep(0.3)
    return text


def test_a_second_run_changes_nothing(jump):
    for options in ([], ["--check"]):
        assert "changed=0 " in jump.site(*options).stdout


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_people_pass_through_to_what_is_declared_and_to_nothing_else(jump, target, person):
    assert jump.passes(person, target, 22).startswith("SSH-2.0-")
    assert jump.passes(person, target, 3306) == "greeting 3306\n"
    for place in ((target, 5432), (target, 8080), ("127.0.0.1", 22), (jump.addresses[jump.name], 22), ("::1", 22)):
        assert jump.passes(person, *place) == "", place


def test_the_log_tells_who_went_where(jump, target):
    jump.passes("bob", target, 3306)
    jump.passes("bob", target, 5432)
    who = r"person=bob source=10\.\S+:\d+ session=\d+"
    wanted = (rf"passage {who} target={target}:3306", rf"refused {who} target={target}:5432", rf"logout {who} began=20")
    text = log(jump, *wanted)
    for pattern in wanted:
        assert re.search(rf"(?m)^20\S+Z {pattern}", text), (pattern, text)
    assert not re.search(rf"passage {who} target={target}:5432", text)
    assert re.search(r"logout .* sent=\d+ received=\d+", text), text
    assert sh(jump.name, "stat -c %a:%U:%G /var/log/rampart/passages.log").strip() in ("640:root:root", "640:root:adm")


def tunnel(jump, person, *options):
    client = subprocess.Popen(jump.ssh(person, "-N", "-o", "ExitOnForwardFailure=yes", *options),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    time.sleep(3)
    return client


def heard(port, request=b""):
    """What is heard at a local port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=4) as connection:
            connection.settimeout(4)
            said = b""
            for part in [request] if isinstance(request, bytes) else request:
                connection.sendall(part)
                said = connection.recv(100)
            return said
    except OSError:
        return b""


def test_local_and_dynamic_forwarding_reach_what_is_declared_only(jump, target):
    ports = {"good": 41306, "bad": 41432, "socks": 41080}
    client = tunnel(jump, "bob", "-L", f"{ports['good']}:{target}:3306", "-L", f"{ports['bad']}:{target}:5432", "-D",
                    str(ports["socks"]))  # fmt: skip
    try:
        assert heard(ports["good"]) == b"greeting 3306\n"
        assert heard(ports["bad"]) == b""
        for port, reply in ((3306, b"\x05\x00"), (5432, b"\x05\x05")):
            place = socket.inet_aton(target) + port.to_bytes(2, "big")
            answer = heard(ports["socks"], (b"\x05\x01\x00", b"\x05\x01\x00\x01" + place))
            assert (answer[:2] == b"\x05\x00") == (port == 3306), (port, answer, reply)
    finally:
        client.kill()


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_nothing_else_is_forwarded(jump, target, person):
    remote = tunnel(jump, person, "-R", "41222:127.0.0.1:22")
    assert remote.poll() is not None and b"remote port forwarding failed" in remote.stdout.read()
    listening = sh(jump.name, "cat /proc/net/tcp /proc/net/tcp6")
    assert f":{41222:04X}" not in listening
    device = tunnel(jump, person, "-w", "any")
    assert device.poll() is not None
    agent = run("ssh-agent", "-s").stdout
    env = os.environ | dict(re.findall(r"(SSH_\w+)=([^;]+);", agent))
    try:
        argv = [*jump.ssh(person, "-A", "-X"), "echo agent=$SSH_AUTH_SOCK display=$DISPLAY"]
        said = run(*argv, env=env | {"DISPLAY": ":0"}, check=False, timeout=25).stdout
        assert said.strip() in ("agent= display=", "")
    finally:
        run("kill", env["SSH_AGENT_PID"])
    control = tunnel(jump, person, "-L", "41999:/run/systemd/private")
    assert heard(41999) == b""
    control.kill()


def test_who_only_passes_through_has_no_shell(jump):
    for words, options in (((), ()), (("id",), ()), (("id",), ("-tt",)), ((), ("-s", "-osubsystem=x"))):
        status, out, err = jump.does("bob", *words, options=options)
        assert status != 0 and "uid=" not in out, (words, out)
    assert "No shell here" in jump.does("bob", "id")[2]
    batch = run("sftp", *jump.ssh("bob")[1:-1], "-b", "/dev/null", jump.addresses[jump.name], check=False, timeout=25)
    assert batch.returncode != 0


def recordings(jump, person):
    return sh(jump.name, f"find /var/log/sudo-io/{person} -name timing 2>/dev/null", check=False).split()


def replay(jump, person):
    return "".join(
        sh(jump.name, f"sudoreplay -s 100 -m 0.01 -d /var/log/sudo-io/{person} "
                      f"{path.removesuffix('/timing').rpartition('/')[2]} 2>&1", check=False)  # fmt: skip
        for path in recordings(jump, person)
    )


def test_a_shell_is_recorded_and_can_be_replayed(jump):
    shell = pexpect.spawn(jump.ssh("alice", "-tt")[0], jump.ssh("alice", "-tt")[1:], encoding="utf-8", timeout=15)
    shell.expect(r"\$ ")
    shell.sendline("echo $((6*7))-by-$(id -un)")
    shell.expect("42-by-alice")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    assert "42-by-alice" in replay(jump, "alice")
    assert sh(jump.name, "stat -c %a:%U /var/log/sudo-io").strip() == "700:root"


def test_recording_cannot_be_gone_around(jump):
    before = len(recordings(jump, "alice"))
    for words, options in (
        (("bash --norc -c 'echo around-one'",), ("-tt",)),
        (("echo around-two",), ()),
        (("/usr/lib/openssh/sftp-server;echo around-three",), ()),
        (("SUDO_COMMAND=x bash -c 'echo around-four'",), ("-o", "SetEnv=SUDO_COMMAND=x")),
    ):
        status, out, err = jump.does("alice", *words, options=options)
        assert status == 0 and "around-" in out, (words, out, err)
    seen = replay(jump, "alice")
    missing = [word for word in ("one", "two", "three", "four") if f"around-{word}" not in seen]
    assert not missing, seen
    assert len(recordings(jump, "alice")) == before + 4
    assert "denied" in run(*jump.ssh("alice"), "cat /var/log/sudo-io/alice/*/log", check=False).stderr.lower()


# What people have in their home is theirs to write, and was there before the role came
HOME = r"""
cd /home/$1
cp -p .bashrc /root/bashrc
# only what runs outside sudo, that is, before the recording
printf '%s\n' '[ "$(cat /proc/$PPID/comm)" = sudo ] || exec /bin/bash --norc --noprofile' | cat - /root/bashrc >.bashrc
printf 'PS4 DEFAULT="$(touch /tmp/around)"\nSHELLOPTS DEFAULT=xtrace\n' >.pam_environment
install -d -o $1 .ssh; echo 'touch /tmp/around' >.ssh/rc; chown $1: .pam_environment .ssh/rc
"""


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_nothing_in_a_home_runs_before_what_sshd_forces(jump, person):
    before = len(recordings(jump, person))
    sh(jump.name, f"set -- {person}; {HOME}")
    try:
        done = subprocess.run(jump.ssh(person), input="echo around-$((5*5)); cat", capture_output=True, text=True,
                              check=False, timeout=25)  # fmt: skip
    finally:
        sh(jump.name, f"cd /home/{person}; cp -p /root/bashrc .bashrc; rm .pam_environment .ssh/rc")
    assert sh(jump.name, "ls /tmp/around 2>/dev/null", check=False) == ""
    if person == "bob":
        assert "around-25" not in done.stdout and "No shell here" in done.stderr
    else:
        assert len(recordings(jump, person)) == before + 1, done


def test_commands_that_come_without_a_terminal_are_recorded(jump):
    known = set(recordings(jump, "alice"))
    subprocess.run([*jump.ssh("alice"), "sh"], input="x=quietly; : $x\n", text=True, check=True, timeout=25)
    (new,) = set(recordings(jump, "alice")) - known
    assert "x=quietly" in sh(jump.name, f"cat {new.removesuffix('timing')}stdin | zcat -f")


def test_a_full_disk_keeps_nobody_out(jump):
    pid = run("podman", "inspect", "-f", "{{.State.Pid}}", container(jump.name)).stdout.strip()
    inside = ["nsenter", "-t", pid, "-m"]
    run(*inside, "mount", "-t", "tmpfs", "-o", "size=16k", "none", "/var/log/sudo-io")
    try:
        run(*inside, "dd", "if=/dev/zero", "of=/var/log/sudo-io/full", "bs=1k", "count=99", check=False)
        assert jump.does("alice", "echo in")[1].strip() == "in"
    finally:
        run(*inside, "umount", "/var/log/sudo-io")


def test_the_log_misses_nothing_while_its_service_is_not_there(jump, target, tmp_path):
    control = ["-S", str(tmp_path / "socket")]
    run(*jump.ssh("bob", "-M", "-fN", "-o", "ControlPersist=60", *control), timeout=25)
    try:
        began = time.monotonic()
        sh(jump.name, "systemctl stop rampart-passages")
        assert time.monotonic() - began < 4
        before = log(jump).count("passage person=bob")
        run(*jump.ssh("bob", *control, "-W", f"{target}:3306"), check=False, timeout=25)
        sh(jump.name, "systemctl start rampart-passages")
        for _try in range(20):
            if log(jump).count("passage person=bob") > before:
                break
            time.sleep(0.3)
        assert log(jump).count("passage person=bob") == before + 1
        assert "login person=bob" not in log(jump).splitlines()[-1]
    finally:
        run(*jump.ssh("bob", *control, "-O", "exit"), check=False)


def test_flows_that_would_cut_ansible_off_are_refused(jump):
    before = sh(jump.name, MANIFEST)
    done = jump.site("-e", json.dumps({"bastion_flows": [{"from": "jump", "to": "db", "port": 3306}]}), tags="bastion",
                     check=False)  # fmt: skip
    assert done.returncode != 0
    assert "no flow opens the SSH port of behind:22" in " ".join(done.stdout.split())
    assert sh(jump.name, MANIFEST) == before


def test_where_the_site_lets_some_pass_is_not_widened(jump):
    place = "/etc/ssh/sshd_config.d/60-site.conf"
    sh(jump.name, f"printf 'Match User bob\\n PermitOpen none\\n' >{place}")
    try:
        done = jump.site(tags="bastion", check=False)
    finally:
        sh(jump.name, f"rm {place}")
    assert "limits where these may pass to" in " ".join(done.stdout.split())


def test_files_and_the_exit_status_come_through(jump, tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 40)
    base = jump.ssh("alice")[1:-1]
    base = [word for index, word in enumerate(base) if word != "-l" and (index == 0 or base[index - 1] != "-l")]
    place = f"alice@{jump.addresses[jump.name]}"
    run("scp", *base, tmp_path / "file", f"{place}:file")
    run("scp", *base, f"{place}:file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert jump.does("alice", "exit 7")[0] == 7


def test_an_idle_shell_is_ended(jump):
    shell = pexpect.spawn(jump.ssh("alice", "-tt")[0], jump.ssh("alice", "-tt")[1:], encoding="utf-8", timeout=15)
    shell.expect(r"\$ ")
    began = time.monotonic()
    shell.expect(pexpect.EOF, timeout=IDLE + 8)
    assert time.monotonic() - began > IDLE - 3
    shell = pexpect.spawn(jump.ssh("alice")[0], [*jump.ssh("alice", "-tt")[1:], "bash"], encoding="utf-8", timeout=15)
    shell.expect(r"\$ ")
    shell.expect(pexpect.EOF, timeout=IDLE + 8)
    assert jump.does("automation", f"sleep {IDLE + 3}; echo still here")[1].strip() == "still here"


def test_a_session_ends_after_its_time(jump):
    scope = sh(jump.name, f"systemctl cat session-.scope 2>/dev/null; cat {'/etc/systemd/system/session-.scope.d/*'}")
    assert "RuntimeMaxSec=43200" in scope
    mine = "grep -o 'session-[^/]*scope' /proc/self/cgroup | head -n 1"
    assert jump.does("automation", f"systemctl show -p RuntimeMaxUSec --value $({mine})")[1].strip() == "12h"
    shorten = "sed -i s/=43200/=4/ /etc/systemd/system/session-.scope.d/rampart-bastion.conf; systemctl daemon-reload"
    sh(jump.name, shorten)
    try:
        began = time.monotonic()
        assert jump.does("alice", "sleep 60; echo awake")[1] == ""
        assert time.monotonic() - began < 30
    finally:
        sh(jump.name, shorten.replace("=43200/=4", "=4/=43200"))


def test_the_partner_keeps_what_the_host_forces(jump, target):
    assert "keep the command that this host forces on them: partner" in jump.said
    done = subprocess.run(["sftp", *jump.ssh("partner")[1:-3], "-b", "-", f"partner@{jump.addresses[jump.name]}"],
                          input="pwd\n", capture_output=True, text=True, check=False, timeout=25)  # fmt: skip
    assert "/home/partner" in done.stdout, done.stderr
    assert jump.passes("partner", target, 5432) == ""


# --- guessing: from the host behind, which nobody has declared as a place where operators are

CLIENT = "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes"
SILENT = f"ssh {CLIENT} -o BatchMode=yes -o ConnectTimeout=5"
GUESSES = {
    "names": f"{SILENT} -i /root/wrong-1 oracle@$0 true",
    "keys": f"{SILENT} -i /root/wrong-1 alice@$0 true",
    "codes": "SSH_ASKPASS_REQUIRE=force SSH_ASKPASS=/root/code "
             f"ssh {CLIENT} -o NumberOfPasswordPrompts=1 -i /root/alice alice@$0 true",
    "knocks": "python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], 22), 5).close()' $0",
}  # fmt: skip
MOST = 40


@pytest.fixture(scope="module")
def stranger(target):
    """What runs a command on the host behind and returns what was said; $0 is the jump server's address."""
    for person in ("alice", "bob"):
        run("podman", "cp", KEYS / person, f"{container('bast-t')}:/root/{person}")
    sh("bast-t", r"chmod 600 /root/alice /root/bob; printf '#!/bin/sh\necho 000000\n' >/root/code; chmod 755 /root/code"
                 "; for n in 1 2 3; do ssh-keygen -q -t ed25519 -N '' -f /root/wrong-$n; done")  # fmt: skip

    def does(jump, command):
        argv = ["podman", "exec", container("bast-t"), "sh", "-c", command, jump.addresses[jump.name]]
        done = run(*argv, check=False, timeout=60)
        return done.stdout + done.stderr

    return does


def shut_out(said):
    return any(words in said for words in ("refused", "Not allowed at this time", "Connection closed", "reset by peer"))


def guesses_until_shut_out(jump, stranger, kind):
    return next((n for n in range(1, MOST + 1) if shut_out(stranger(jump, f"{{ {GUESSES[kind]}; }} 2>&1"))), None)


def free(jump):
    """Nobody is shut out by fail2ban any more, and what it was told meanwhile is forgotten."""
    again = "for try in $(seq 50); do fail2ban-client status sshd && exit; sleep 0.2; done; exit 1"
    if jump.fail2ban:
        sh(jump.name, f"fail2ban-client unban --all; systemctl restart fail2ban; {again}")


def test_a_client_with_several_keys_is_not_shut_out(jump, target, stranger):
    keys = " ".join(f"-i /root/{name}" for name in ("wrong-1", "wrong-2", "wrong-3", "bob"))
    for _login in range(15):
        assert "greeting 3306" in stranger(jump, f"{SILENT} {keys} -W {target}:3306 bob@$0 </dev/null")


def test_who_guesses_is_shut_out_for_a_while_and_nobody_else(jump, target, stranger):
    free(jump)
    if jump.fail2ban:
        sh(jump.name, "fail2ban-client set sshd bantime 8")
    for _guess in range(MOST):  # from the controller
        assert "denied" in run(*jump.ssh("oracle"), "-i", KEYS / "test", check=False, timeout=25).stderr
    stranger(jump, f"{SILENT} -i /root/bob -fNM -S /root/socket bob@$0 >/dev/null 2>&1")
    guesses = guesses_until_shut_out(jump, stranger, "names")
    assert guesses and guesses > 2
    assert jump.does("alice", "echo in")[1].strip() == "in"
    assert "greeting 3306" in stranger(jump, f"{SILENT} -S /root/socket -W {target}:3306 bob@$0 </dev/null")
    for _try in range(60):
        time.sleep(1)
        if not shut_out(said := stranger(jump, f"{SILENT} -i /root/bob -W {target}:3306 bob@$0 </dev/null 2>&1")):
            break
    assert "greeting 3306" in said
    stranger(jump, f"{SILENT} -S /root/socket -O exit bob@$0")


@pytest.mark.parametrize("kind", ["keys", "codes", "knocks"])
def test_every_kind_of_guess_counts(jump, stranger, kind):
    if not jump.fail2ban:
        pytest.skip("sshd itself counts, and says of what it does so")
    free(jump)
    if kind == "codes":
        jump.site("-e", json.dumps({"hardening_totp_secrets": totp_secrets()}), tags="mfa")
    try:
        guesses = guesses_until_shut_out(jump, stranger, kind)
        assert guesses and guesses > 4
    finally:
        free(jump)
        if kind == "codes":
            jump.site(tags="mfa")


def test_a_jail_of_the_site_that_is_as_strict_stays(jump):
    if not jump.fail2ban:
        pytest.skip("there is no fail2ban")
    first, second = policy(jump)["hardening_controllers"]
    own = "[sshd]\nenabled=true\nbackend=systemd\nmode=aggressive\nmaxretry=3\nfindtime=1h\nbantime=2h\n"
    own += "banaction=nftables-multiport\nport=22\n"
    sh(jump.name, f"printf '{own}ignoreip={first} {second}\n' >/etc/fail2ban/jail.local")
    try:
        done = jump.site(tags="bastion")
        assert "is as strict as ours, and stays" in done.stdout
        assert sh(jump.name, "ls /etc/fail2ban/jail.d").split() == ["defaults-debian.conf"]
        assert sh(jump.name, "fail2ban-client get sshd maxretry").strip() == "3"
        assert "changed=0 " in jump.site(tags="bastion").stdout
        assert verdicts(jump)["bastion.penalties"] == "pass"
        sh(jump.name, "sed -i s/^ignoreip.*/ignoreip=192.0.2.9/ /etc/fail2ban/jail.local")
        jump.site(tags="bastion")
        told = sh(jump.name, "for key in maxretry ignoreip; do fail2ban-client get sshd $key; done")
        assert told.split()[0] == "3" and "192.0.2.9" in told and first.partition("/")[0] in told, told
    finally:
        sh(jump.name, "rm /etc/fail2ban/jail.local")
        jump.site(tags="bastion")
    assert sh(jump.name, "fail2ban-client get sshd maxretry").strip() == "20"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("systemctl stop fail2ban", "nothing shuts out addresses that fail"),
        ("fail2ban-client stop sshd", "nothing shuts out addresses that fail"),
        ("systemctl disable fail2ban", "does not start with the host"),
        ("fail2ban-client set sshd maxretry 51", "51 failures until an address is shut out"),
        ("fail2ban-client set sshd findtime 30", "forgotten after 30 seconds"),
        ("fail2ban-client set sshd bantime 5", "for 5 seconds only"),
        ("fail2ban-client set sshd bantime.maxtime 700000", "for good (700000)"),
        ("fail2ban-client set sshd bantime.increment false; fail2ban-client set sshd bantime -1", "for good (-1)"),
        ("fail2ban-client set sshd delignoreip {controller}", "operators may be shut out, coming from {controller}"),
        ("fail2ban-client set sshd delaction nftables", "still gets to port 22"),
        ("sed -i 's/^port = .*/port = 2222/' /etc/fail2ban/jail.d/rampart.local; systemctl restart fail2ban; sleep 2",
         "still gets to port 22"),
    ],
    ids=range(11),
)  # fmt: skip
def test_penalties_that_fail_are_told(jump, broken, words):
    if not jump.fail2ban:
        pytest.skip("there is no fail2ban")
    controller = policy(jump)["hardening_controllers"][0].partition("/")[0]
    free(jump)
    sh(jump.name, broken.format(controller=controller))
    try:
        found = verdicts(jump, check=False, told=True)["bastion.penalties"]
    finally:
        sh(jump.name, "systemctl enable --quiet fail2ban; sed -i 's/^port = .*/port = 22/' "
                      "/etc/fail2ban/jail.d/rampart.local")  # fmt: skip
        free(jump)
    assert found[0] == "fail" and words.format(controller=controller) in found[1], found


# --- what verify says


def policy(jump):
    return json.loads(jump.inventory.read_text(encoding="utf-8"))["all"]["vars"]


def verdicts(jump, check=True, told=False):
    output = STATE / "hosts" / jump.name / "evidence"
    jump.play("verify", "-e", "verify_roles=bastion", "-e", f"verify_output={output}", "-e", "verify_hosts=jump",
              check=check)  # fmt: skip
    evidence = json.loads((output / "latest/evidence.json").read_text(encoding="utf-8"))
    results = evidence["hosts"][jump.name]["results"]
    return {name: (one["verdict"], one.get("message")) if told else one["verdict"] for name, one in results.items()}


def test_the_evidence_says_so(jump):
    found = verdicts(jump)
    assert set(found.values()) == {"pass"} and len(found) == 9, found


BREAK = f"""
cp {DROPIN} /root/dropin
cat >/etc/ssh/sshd_config.d/00-a.conf <<'END'
Match User alice,bob,nobody
    PermitOpen any
    ForceCommand none
    PermitListen any
    AllowTcpForwarding yes
    AuthenticationMethods publickey
END
sed -i '/^LogVerbose/d; /^ChannelTimeout/d; /^PerSourceMaxStartups/d' {DROPIN}
sshd -T | grep -q persourcepenalties && sed -i '1i PerSourcePenalties no' /etc/ssh/sshd_config.d/00-a.conf
systemctl stop rampart-passages fail2ban; systemctl reload ssh
"""


def test_every_control_is_seen_to_fail(jump):
    sh(jump.name, BREAK)
    try:
        found = verdicts(jump, check=False)
    finally:
        sh(jump.name, f"cp -p /root/dropin {DROPIN}; rm /etc/ssh/sshd_config.d/00-a.conf; systemctl reload ssh; "
                      f"systemctl start rampart-passages {'fail2ban' if jump.fail2ban else ''}")  # fmt: skip
    assert set(found.values()) == {"fail"} and len(found) == 9, found


def test_undo_takes_it_out_whole(jump, target, stranger):
    if jump.fail2ban:
        sh(jump.name, f"fail2ban-client set sshd banip {target}; until nft list ruleset | grep {target}; do :; done")
        assert shut_out(stranger(jump, GUESSES["keys"]))
    jump.play("undo", "-e", "undo=role:bastion", "--limit", "jump")
    assert not shut_out(stranger(jump, GUESSES["keys"]))
    if jump.fail2ban:
        state = "systemctl is-enabled fail2ban; systemctl is-active fail2ban; nft list ruleset"
        left = sh(jump.name, state, check=False)
        assert re.fullmatch(r"disabled\n(inactive|failed)\n", left), left
        sh(jump.name, f"apt-get -qy purge {' '.join(packages(jump) - jump.packages)}")
    assert sh(jump.name, MANIFEST) == jump.before
    assert jump.does("bob", "id -un")[1].strip() == "bob"


# --- two of them


def test_two_jump_servers_stand_side_by_side_and_one_is_enough(target, tmp_path):
    names = ["bast-a", "bast-b"]
    pair = Jump(names, "trixie", target)
    try:
        pair.site()
        key = (KEYS / "alice.pub").read_text(encoding="utf-8").strip()
        sh("bast-t", "id alice 2>/dev/null || useradd --create-home --shell /bin/bash alice; "
                     "install -d -m 0700 -o alice /home/alice/.ssh; "
                     f"echo '{key}' >/home/alice/.ssh/authorized_keys; chown -R alice /home/alice/.ssh")  # fmt: skip
        config = tmp_path / "ssh_config"
        pair.play("client_config", "-e", f"client_config={config}")
        text = config.read_text(encoding="utf-8")
        through = f"Host *\n    IdentityFile {KEYS / 'alice'}\n    IdentitiesOnly yes\n    StrictHostKeyChecking no\n"
        through += "    UserKnownHostsFile /dev/null\n    User alice\n    ControlPath none\n"
        config.write_text(through + text, encoding="utf-8")
        # what the file's ProxyCommand calls reads ~/.ssh/config, which on a test machine is somebody's
        wrapper = tmp_path / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        for down in (None, "bast-a", "bast-b"):
            if down:
                sh(down, "systemctl stop ssh.service ssh.socket 2>/dev/null; pkill -x sshd || true")
            said = run(wrapper, "behind", "id -un", env=env, check=False, timeout=60)
            assert said.stdout.strip() == "alice", (down, said.stderr)
            if down:
                sh(down, "systemctl start ssh.service")
    finally:
        run(sys.executable, LAB, "host", "down", *names)
