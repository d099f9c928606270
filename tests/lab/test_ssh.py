# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ssh on hosts with a history, judged by logins: who should get in does, who should not does not."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hardened import run
from lab import container

LAB = pathlib.Path(__file__).with_name("lab.py")
STATE = LAB.parents[2] / ".cache" / "lab"
KEYS = STATE / "keys"
PEOPLE = ("automation", "alice", "bob", "partner")
CONFIG = "/etc/ssh/sshd_config"
DROPIN = "/etc/ssh/sshd_config.d/00-rampart.conf"
# What admin_accounts sees to: people with keys, and the group of those who log in
PREPARE = """
groupadd --force ssh-login
for name in automation alice bob partner; do
    id $name >/dev/null 2>&1 || useradd --create-home --shell /bin/bash $name
    usermod --append --groups ssh-login $name
    install -d -m 0700 -o $name -g $name /home/$name/.ssh
done
echo 'automation ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/automation
tar --create --file /root/ssh.tar /etc/ssh /etc/default/ssh
"""
RESTORE = """
rm -rf /etc/ssh; tar --extract --file /root/ssh.tar --directory /
systemctl --quiet is-active ssh.socket && systemctl disable --now ssh.socket
systemctl reset-failed ssh.service
systemctl restart ssh.service
"""


class Host:
    def __init__(self, name, image):
        self.name, self.port = name, 22
        run(sys.executable, LAB, "host", "down", name, check=False)
        run(sys.executable, LAB, "host", "up", name, "--image", image)
        self.state = STATE / "hosts" / name
        inventory = json.loads((self.state / "inventory.yml").read_text(encoding="utf-8"))
        self.policy = inventory["all"]["vars"]
        self.variables = inventory["all"]["children"]["jump"]["hosts"][name]
        self.address = self.variables["ansible_host"]
        self.sh(PREPARE)
        for name in PEOPLE:
            key = (KEYS / f"{name if name != 'partner' else 'test'}.pub").read_text(encoding="utf-8").strip()
            self.sh(f"echo '{key}' >/home/{name}/.ssh/authorized_keys; chown {name}: /home/{name}/.ssh/authorized_keys")

    def sh(self, command, check=True):
        return run("podman", "exec", container(self.name), "sh", "-c", command, check=check).stdout

    def history(self, command="true", restart=True, main="", first="", **dropins):
        """Give the host a past: a command, lines at the main file's end and beginning, drop-ins by name."""
        for name, text in dropins.items():
            self.write(f"/etc/ssh/sshd_config.d/{name.replace('_', '-').lstrip('-')}.conf", text)
        self.write(CONFIG, first + self.sh(f"cat {CONFIG}") + main)
        self.sh(command)
        if restart:
            self.sh("sshd -t && systemctl restart ssh.service")

    def write(self, path, text):
        run("podman", "exec", "--interactive", container(self.name), "tee", path, input=text)

    def login(self, user, *options, key=None, command="id -un"):
        """What a login from the controller comes to: (return code, what was said)."""
        key = KEYS / (key or {"partner": "test"}.get(user, user))
        argv = ["-F", "/dev/null", "-p", str(self.port), "-i", str(key), *options]  # ssh keeps the first of two values
        argv += ["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        argv += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", f"{user}@{self.address}"]
        done = run("ssh", *argv, *([command] if command else []), check=False, stdin=subprocess.DEVNULL, timeout=20)
        return done.returncode, done.stdout + done.stderr

    def gets_in(self, user, *options, **more):
        return self.login(user, *options, **more)[0] == 0

    def play(self, tasks, variables, *options, check=True):
        """The tasks on this host, as the automation account. The result knows how many changes Ansible counted."""
        variables = {
            **self.variables,
            "ansible_user": "automation",
            "ansible_ssh_private_key_file": str(KEYS / "automation"),
            "ansible_port": self.port,
            "ansible_become": True,
            "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no",
            **variables,
        }
        group = {"hosts": {self.name: variables}}
        inventory = self.state / "ssh.json"
        inventory.write_text(json.dumps({"all": {"vars": self.policy, "children": {"servers": group}}}), "utf-8")
        playbook = self.state / "ssh-play.json"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]), "utf-8")
        done = run("ansible-playbook", "--inventory", inventory, playbook, *options, check=check)
        return Said(done.stdout + done.stderr)

    def harden(self, *options, check=True, **variables):
        role = {"ansible.builtin.import_role": {"name": "rampart.hardening.ssh"}}
        return self.play([role], {"hardening_confirm_timeout": 30, **variables}, *options, check=check)

    def settings(self, user="nobody", address="192.0.2.1"):
        """What sshd would grant a login; values of repeated keywords are joined."""
        found = {}
        for line in self.sh(f"sshd -T -C user={user},host=x,addr={address},lport={self.port}").splitlines():
            keyword, __, value = line.partition(" ")
            found[keyword] = f"{found[keyword]} {value}" if keyword in found else value
        return found

    def manifest(self):
        """Every file of SSH: owner, mode, content."""
        return self.sh("cd /etc/ssh && find . -exec stat --format '%n %U %G %a %F' {} + | sort; "
                       "find . -type f -exec sha256sum {} + | sort -k 2")  # fmt: skip


class Said(str):
    @property
    def changed(self):
        return int(re.search(r"changed=(\d+)", self)[1])


# Where another OpenSSH may make a difference; all else is tried on one of them
BOTH = pytest.mark.parametrize("machine", ["bookworm", "trixie"], indirect=True)


@pytest.fixture(scope="module")
def machine(request):
    image = getattr(request, "param", "bookworm")
    host = Host(f"ssh-{image}", image)
    yield host
    run(sys.executable, LAB, "host", "down", host.name)


@pytest.fixture
def host(machine):
    """A host in its bad state, before and after."""
    machine.port = 22
    yield machine
    machine.sh("rm -rf /var/lib/rampart")
    machine.sh(RESTORE)


def assert_hardened(host):
    """What must hold whatever the host's history is: from outside, then by sshd's own account."""
    assert host.gets_in("alice")
    assert host.gets_in("automation")
    assert not host.gets_in("root")
    refusal = host.login("root", "-o", "PreferredAuthentications=none")[1]
    assert "Permission denied (publickey)" in refusal
    for user, address in (("root", "10.1.2.3"), ("alice", "192.0.2.1"), ("bob", "2001:db8::1")):
        settings = host.settings(user, address)
        for keyword in ("permitrootlogin", "passwordauthentication", "kbdinteractiveauthentication",
                        "permitemptypasswords", "x11forwarding", "allowagentforwarding"):  # fmt: skip
            assert settings[keyword] == "no", (user, address, keyword)


def assert_settles(host):
    """A run changes the host, a second one finds nothing to do, and people get in as they should."""
    before = host.manifest()
    done = host.harden()
    assert done.changed == 1
    assert host.harden().changed == 0
    assert_hardened(host)
    return before, done


def assert_predicted(host):
    """Check mode changes nothing and names exactly the files that a run then changes."""
    before = host.manifest()
    predicted = host.harden("--check", "--diff")
    assert host.manifest() == before
    done = host.harden("--diff")
    assert predicted.changed == done.changed == 1
    headers = [re.findall(r"(?m)^\+\+\+ after: (.*)$", said) for said in (predicted, done)]
    assert headers[0] == headers[1]
    assert len(headers[0]) > 1


def assert_undone(host, before):
    host.play([{"rampart.hardening.undo": {"what": "all"}}], {})
    assert host.manifest() == before


def assert_refused(host, reason, **variables):
    """The role says why it leaves the host alone, and does."""
    before = host.manifest()
    for options in (["--check"], []):
        said = host.harden(*options, check=False, **variables)
        assert "failed=1" in said
        assert reason in " ".join(said.split()), said[-3000:]
        assert host.manifest() == before
    assert "rampart" not in host.sh("ls /etc/ssh/sshd_config.d")


@BOTH
def test_a_plain_host(host):
    before, said = assert_settles(host)
    assert "overrides /etc/ssh/sshd_config:" in said
    assert "PermitRootLogin yes" in said
    assert not host.gets_in("test")  # no member of the group
    banner = host.login("alice", "-o", "LogLevel=INFO")[1]
    assert "Authorised use only" in banner
    forward = host.login("alice", "-W", "127.0.0.1:22", command=None)[1]
    assert "stdio forwarding failed" in forward
    assert_undone(host, before)
    assert host.gets_in("root")


@BOTH
def test_check_mode_predicts(host):
    host.history("rm /etc/ssh/ssh_host_ed25519_key*; chmod 644 /etc/ssh/ssh_host_ecdsa_key", first="LogLevel INFO\n")
    assert_predicted(host)


@BOTH
def test_a_jump_server_forwards_for_its_clients(host):
    host.harden(ssh_jump_server=True)
    assert "SSH-2.0" in host.login("alice", "-W", "127.0.0.1:22", command=None)[1]
    assert not host.gets_in("alice", "-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:7777:127.0.0.1:22")


@BOTH
def test_the_automation_account_comes_from_where_it_belongs(host):
    host.harden()
    host.sh("install -d -m 0700 /root/from && cat >/root/from/automation <<'KEY'\n"
            f"{(KEYS / 'automation').read_text(encoding='utf-8')}KEY\n"
            "cat >/root/from/alice <<'KEY'\n"
            f"{(KEYS / 'alice').read_text(encoding='utf-8')}KEY\nchmod 600 /root/from/*")  # fmt: skip
    ask = ("ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
           "-o LogLevel=ERROR -i /root/from/{0} {0}@{1} id -un 2>&1 || true")  # fmt: skip
    assert host.sh(ask.format("alice", "127.0.0.1")).strip() == "alice"
    for address in ("127.0.0.1", "::1"):
        assert "Permission denied" in host.sh(ask.format("automation", address))
    assert host.gets_in("automation")


def test_another_port_and_address(host):
    host.history(main="ListenAddress 0.0.0.0\n", port="Port 2222\n")
    host.port = 2222
    before, __ = assert_settles(host)
    assert host.settings()["port"] == "2222"
    assert_undone(host, before)


NO_INCLUDE = f"sed -i /^Include/d {CONFIG}"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"


@pytest.mark.parametrize(
    "history",
    [
        {"command": NO_INCLUDE},
        {"first": "PasswordAuthentication yes\n"},
        {"_00_aaa": "Match LocalPort 22\nPermitRootLogin yes\nPasswordAuthentication yes\n"},
        {"_00_aaa": "PermitRootLogin yes\nPasswordAuthentication yes\n"},
        {"_00_aaa": "Match User root\nPermitRootLogin yes\nPasswordAuthentication yes\n"},
    ],
    ids=["no-include", "settings-first", "earlier-port", "earlier-dropin", "earlier-match"],
)
def test_the_drop_in_is_read_first(host, history):
    host.history(**history)
    before, __ = assert_settles(host)
    assert host.sh(f"head -n 1 {CONFIG}").strip() == f"Include {DROPIN.replace('.conf', '*.conf')}"
    assert_undone(host, before)


@BOTH
def test_a_later_drop_in_and_match_blocks_do_not_undo_it(host):
    everybody = "Match Address 0.0.0.0/0,::/0\nPermitRootLogin yes\nPasswordAuthentication yes\nMaxAuthTries 20\n"
    host.history(main=everybody, _50_cloud_init="PasswordAuthentication yes\n")
    before, said = assert_settles(host)
    assert "overrides /etc/ssh/sshd_config.d/50-cloud-init.conf:1 PasswordAuthentication yes" in said
    assert "PermitRootLogin yes (Match Address 0.0.0.0/0,::/0)" in said
    assert host.settings("root", "10.1.2.3")["maxauthtries"] == "4"
    assert_undone(host, before)


def test_more_than_one_connection_may_carry_goes_over_others_with_logins_of_their_own(host, tmp_path):
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={tmp_path}/%r", "-o", "ControlPersist=60"]

    def logins(level):
        """What four sessions at once cost, over a connection that stands."""
        host.harden(hardening_level=level)
        host.login("alice", *shared, command="true")
        since = host.sh("sleep 1; date +%s").strip()
        with ThreadPoolExecutor(4) as people:
            done = list(people.map(lambda n: host.login("alice", *shared, command=f"sleep 4; echo {n}"), range(4)))
        assert [code for code, said in done] == [0] * 4, done
        run("ssh", "-F", "/dev/null", *shared, "-O", "exit", f"alice@{host.address}", check=False)
        return host.sh(f"journalctl -q -u ssh --since=@{since}").count("Accepted publickey for alice")

    assert (logins(1), logins(2)) == (0, 2)


def test_a_main_file_behind_a_link(host):
    host.history(f"{NO_INCLUDE}; mv {CONFIG} /etc/ssh/site_config; ln -s site_config {CONFIG}")
    before, __ = assert_settles(host)
    assert host.sh(f"readlink {CONFIG}").strip() == "site_config"
    assert_undone(host, before)


def test_keys_in_another_place(host):
    there = (
        "install -d /etc/ssh/keys; cd /home; for name in *; do mv $name/.ssh/authorized_keys /etc/ssh/keys/$name; done"
    )
    back = "cd /etc/ssh/keys; for name in *; do cp $name /home/$name/.ssh/authorized_keys; done"
    host.history(there, keys="AuthorizedKeysFile /etc/ssh/keys/%u\n")
    try:
        assert_settles(host)
        assert host.gets_in("bob")
    finally:
        host.sh(back)


def test_certificates_go_on_working(host, tmp_path):
    run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ca")
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-N", "", "-f", tmp_path / "bob")
    run("ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "bob", "-n", "bob", tmp_path / "bob.pub")
    host.write("/etc/ssh/ca.pub", (tmp_path / "ca.pub").read_text(encoding="utf-8"))
    host.history(ca="TrustedUserCAKeys /etc/ssh/ca.pub\n")
    assert host.gets_in("bob", key=tmp_path / "bob")
    assert_settles(host)
    assert host.gets_in("bob", key=tmp_path / "bob")


@BOTH
def test_a_partner_keeps_the_restricted_login(host):
    jail = "Match User partner\nForceCommand internal-sftp\nChrootDirectory /srv/partner\n"
    host.history("install -d -m 0755 /srv/partner; echo hello >/srv/partner/offer", main=jail)
    assert_settles(host)
    said = run("sftp", "-F", "/dev/null", "-b", "-", "-i", KEYS / "test", "-o", "StrictHostKeyChecking=no", "-o",
               "UserKnownHostsFile=/dev/null", f"partner@{host.address}", input="ls\n").stdout  # fmt: skip
    assert "offer" in said
    assert not host.login("partner")[1].startswith("partner")


def test_lists_of_the_site_are_completed(host):
    lists = "AllowUsers bob automation\nAllowGroups sshusers ssh-login\n"
    host.history("groupadd --force sshusers; usermod --append --groups sshusers bob", site=lists)
    assert not host.gets_in("alice")
    before, __ = assert_settles(host)
    assert host.gets_in("bob")
    assert not host.gets_in("partner")
    assert host.settings("bob")["allowgroups"].split() == ["ssh-login", "sshusers"]
    assert_undone(host, before)


CERTIFY_ECDSA = """
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ca
ssh-keygen -q -s /etc/ssh/ca -h -I host /etc/ssh/ssh_host_ecdsa_key.pub
"""


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ({"site": "DenyUsers alice@192.0.2.* mallory\n"}, "shuts out alice"),
        ({"site": "DenyGroups ssh-log*\n", "restart": False}, "shuts out the group ssh-login"),
        ({"main": "Match Address 192.0.2.0/24\nAllowUsers bob automation\n"}, "would shut out alice"),
        ({"main": "Match User bob\nAuthenticationMethods password\n"}, "password (Match User bob) cannot be met"),
        (
            {"command": f"{NO_INCLUDE}; printf 'Match User bob\\n{INCLUDE}\\n' >>{CONFIG}", "restart": False},
            "stands inside 'Match User bob'",
        ),
        (
            {"command": CERTIFY_ECDSA, "main": "HostCertificate /etc/ssh/ssh_host_ecdsa_key-cert.pub\n"},
            "issue one for its ed25519 key",
        ),
    ],
    ids=["deny-users", "deny-groups", "match-allow-users", "password-step", "include-in-match", "host-certificate"],
)
def test_what_cannot_be_taken_over_is_refused(host, history, reason):
    host.history(**history)
    assert_refused(host, reason)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("-o PermitRootLogin=yes", "/etc/default/ssh sets PermitRootLogin=yes (option -o)"),
        ("-oPasswordAuthentication=yes", "/etc/default/ssh sets PasswordAuthentication=yes (option -o)"),
        ("-f /etc/ssh/other_config", "reads /etc/ssh/other_config instead of /etc/ssh/sshd_config"),
    ],
)
def test_options_of_the_daemon_are_refused(host, options, reason):
    host.write("/etc/default/ssh", f'SSHD_OPTS="{options}"\n')
    host.history(f"cp {CONFIG} /etc/ssh/other_config")
    assert_refused(host, reason)
    host.sh("rm /etc/default/ssh")  # gone from the file, and still in force
    assert_refused(host, "the running sshd")


def test_options_that_do_no_harm_are_not(host):
    host.write("/etc/default/ssh", 'SSHD_OPTS="-o PermitRootLogin=no -o LogLevel=VERBOSE -u0"\n')
    host.history()
    assert_settles(host)


def test_a_broken_configuration_is_refused(host):
    host.history(main="Nonsense yes\n", restart=False)
    assert_refused(host, "Bad configuration option: Nonsense")


def test_what_the_policy_lacks_is_refused(host):
    assert_refused(host, "not in the group other-login", hardening_login_group="other-login")
    assert_refused(host, "nobody has said from where automation comes", hardening_controllers=[])


KEY_AND_CODE = "AuthenticationMethods publickey,keyboard-interactive\n"


@BOTH
def test_a_second_factor_stays(host):
    alone = "Match User automation,alice\nAuthenticationMethods publickey\n"
    host.history(mfa=f"KbdInteractiveAuthentication yes\n{KEY_AND_CODE}{alone}")
    host.harden()
    assert host.gets_in("alice")
    assert not host.gets_in("bob")
    settings = host.settings("bob")
    assert settings["kbdinteractiveauthentication"] == "yes"
    assert settings["authenticationmethods"] == "publickey,keyboard-interactive"
    assert "(publickey)" in host.login("bob", "-o", "PreferredAuthentications=none")[1]
    assert "(keyboard-interactive)" in host.login("bob")[1]


def test_a_second_factor_for_some_leaves_a_key_alone_to_the_others(host):
    host.history(mfa=f"KbdInteractiveAuthentication yes\nMatch User bob\n{KEY_AND_CODE}")
    host.harden()
    assert host.gets_in("alice")
    assert "(publickey)" in host.login("alice", "-o", "PreferredAuthentications=none")[1]
    assert "(keyboard-interactive)" in host.login("bob")[1]


@BOTH
def test_socket_activation(host):
    host.history("systemctl disable --now ssh.service; systemctl enable --now ssh.socket", restart=False)
    before, __ = assert_settles(host)
    assert host.sh("systemctl is-active ssh.socket").strip() == "active"
    assert_undone(host, before)


@BOTH
def test_a_missing_ed25519_key_is_made(host):
    host.history("rm /etc/ssh/ssh_host_ed25519_key*")
    before, __ = assert_settles(host)
    made = host.sh("ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key").split()[:2]
    assert host.sh("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2] == made
    assert host.sh("stat -c '%a %U' /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub").split() == [
        "600", "root", "644", "root"]  # fmt: skip
    assert_undone(host, before)


def test_host_keys_of_the_site(host):
    own = "HostKey /etc/ssh/own/key\nHostKey /etc/ssh/ssh_host_ecdsa_key\n"
    host.history("install -d /etc/ssh/own; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/own/key", first=own)
    assert_settles(host)
    offered = run("ssh-keyscan", host.address).stdout
    assert [line.split()[1] for line in offered.splitlines()] == ["ssh-ed25519"]
    assert host.sh("cut -d' ' -f2 /etc/ssh/own/key.pub").strip() in offered


def test_weak_and_readable_host_keys(host):
    host.history(
        "ssh-keygen -q -t rsa -b 3072 -N '' -f /etc/ssh/new && mv /etc/ssh/new /etc/ssh/ssh_host_rsa_key && "
        "mv /etc/ssh/new.pub /etc/ssh/ssh_host_rsa_key.pub; chmod 644 /etc/ssh/ssh_host_ecdsa_key; "
        "printf 'secret\\n' >/etc/ssh/ssh_host_dsa_key; "
        "echo 'ssh-dss AAAAB3NzaC1kc3MAAAABAwAAAAEDAAAAAQMAAAABAw==' >/etc/ssh/ssh_host_dsa_key.pub"
    )
    before, __ = assert_settles(host)
    offered = {line.split()[1] for line in run("ssh-keyscan", host.address).stdout.splitlines()}
    assert offered == {"ssh-ed25519", "ssh-rsa"}
    assert host.sh("stat -c %a /etc/ssh/ssh_host_ecdsa_key").strip() == "600"
    assert "dsa_key" not in host.sh("ls /etc/ssh").replace("ecdsa_key", "")
    assert_undone(host, before)


def test_no_pam_before(host):
    host.history("sed -i 's/^UsePAM.*/UsePAM no/' /etc/ssh/sshd_config; usermod --password '*' automation")
    assert_settles(host)
    assert host.settings()["usepam"] == "yes"


@BOTH
def test_a_daemon_that_never_reloaded_is_noticed(host):
    host.harden()
    # as after a run that was killed between writing and activating
    host.sh(f"touch {DROPIN}")
    assert host.harden("--check").changed == 1
    assert host.harden().changed == 1
    assert host.harden().changed == 0
    host.sh(f"touch -d '+1 day' {DROPIN}")  # a clock that was set back
    assert host.harden().changed == 1
    assert host.harden().changed == 0


@BOTH
def test_a_daemon_without_systemd(host):
    host.history("systemctl stop ssh.service; mkdir -p /run/sshd; /usr/sbin/sshd", restart=False)
    try:
        before, __ = assert_settles(host)
        assert_undone(host, before)
    finally:
        host.sh("kill $(cat /run/sshd.pid)")


def test_no_pid_file(host):
    host.history(main="PidFile none\n")
    host.sh("rm -f /run/sshd.pid")
    host.harden()
    time.sleep(1)
    assert_hardened(host)
    assert host.harden().changed == 0


def test_the_client_keeps_what_the_site_has_for_some_hosts(host):
    legacy = "Host legacy.example\\n  Ciphers aes128-cbc\\n  ForwardAgent yes\\n"
    host.history(f"printf '{legacy}' >>/etc/ssh/ssh_config")
    host.write("/etc/ssh/ssh_config.d/site.conf", "Host *\n  ForwardAgent yes\n")
    __, said = assert_settles(host)
    assert "overrides /etc/ssh/ssh_config.d/site.conf:2 ForwardAgent yes" in said
    legacy, other = (host.sh(f"ssh -F /etc/ssh/ssh_config -G {shlex.quote(name)}") for name in ("legacy.example", "x"))
    assert "ciphers aes128-cbc\n" in legacy
    assert "forwardagent yes\n" in legacy
    assert "forwardagent no\n" in other
    assert "hmac-sha1" not in other


def test_the_client_without_an_include(host):
    host.history("sed -i /^Include/d /etc/ssh/ssh_config")
    before, __ = assert_settles(host)
    assert "hmac-sha1" not in host.sh("ssh -F /etc/ssh/ssh_config -G x")
    assert_undone(host, before)
