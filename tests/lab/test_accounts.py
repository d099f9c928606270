# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role admin_accounts on hosts with a history, judged by who gets in, what still runs, and what comes back."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import time

import pexpect
import pytest
from hardened import releases, run
from lab import container

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/lab/lab.py"
STATE = ROOT / ".cache" / "lab"
KEYS = STATE / "keys"
ANYWHERE = ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
SEALED = "Sealed-envelope-1"
BOOTSTRAP = "Only-for-the-first-time-1"
# A cloud image's account, a partner, a sudoers that reads no directory and asks for root's password, keys elsewhere,
# lines of NIS, a link in a home, a group and a home that are there already, no gshadow, odd bytes
HISTORY = r"""
set -e
key=$(head -n 1 /root/.ssh/authorized_keys)
useradd -m -s /bin/bash debian; passwd -l debian
install -d -m 0700 -o debian -g debian /home/debian/.ssh
install -m 0600 -o debian -g debian /root/.ssh/authorized_keys /home/debian/.ssh/authorized_keys
mkdir -p /etc/cloud; printf 'system_info:\n   default_user:\n     name: debian\n' >/etc/cloud/cloud.cfg
printf '# cloud\ndebian ALL=(ALL) NOPASSWD:ALL\n' >/etc/sudoers.d/90-cloud-init-users
useradd -m -s /usr/sbin/nologin -c "$(printf 'L\351on')" partner
mkdir -p /etc/ssh/keys; echo "$key" >/etc/ssh/keys/partner
echo 'AuthorizedKeysFile /etc/ssh/keys/%u .ssh/authorized_keys' >/etc/ssh/sshd_config.d/keys.conf
printf 'Match User partner\n ForceCommand internal-sftp\n' >>/etc/ssh/sshd_config
systemctl reload ssh
sed -i /includedir/d /etc/sudoers
printf '@include /etc/sudoers.d/90-cloud-init-users\n@include /etc/sudoers.site\n' >>/etc/sudoers
cat >/etc/sudoers.site <<'END'
Defaults requiretty, !use_pty
Defaults rootpw
User_Alias OPS = test, \
    guest
OPS ALL=(ALL) NOPASSWD: ALL
%ops ALL=(root) NOPASSWD: /usr/bin/systemctl restart web
END
chmod 0440 /etc/sudoers.site /etc/sudoers.d/90-cloud-init-users
groupadd -g 1010 alice
install -d -o 1777 -g 1777 /home/bob
echo '+@ops::::::' >>/etc/passwd; echo '+:::' >>/etc/group; echo '# odd' >>/etc/shadow
rm -r /home/test/.ssh; mkdir /srv/keys; cp /root/.ssh/authorized_keys /srv/keys; ln -s /srv/keys /home/test/.ssh
rm /etc/gshadow
useradd -r -m -d /var/lib/pg -s /bin/bash pg
useradd -r -d /opt/none -s /bin/bash idle
systemd-run -q --uid=test --unit=theirs sleep 901
"""
DRIFT = r"""
passwd -u root; passwd -u toor; chage -E -1 toor; usermod -s /bin/bash toor
echo "$1" >>/root/.ssh/authorized_keys; echo "$1 evil" >>/etc/ssh/keys/alice
sed -i /rampart/,+1d /etc/pam.d/login /etc/pam.d/su
useradd -m demo; passwd -d guest; usermod -p '$6$x$y' automation; chage -E 0 bob
gpasswd -a pg ssh-login
printf 'Defaults !use_pty, !logfile, timestamp_timeout=-1\ndebian ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/zz
echo '@include /etc/sudoers.d/zz' >>/etc/sudoers
useradd -r -d /opt/none -s /bin/bash late
useradd -m eve; echo eve:eve | chpasswd; echo 'eve ALL=ALL' >>/etc/sudoers.d/zz
"""
HASH = 'useradd x; echo "x:$1" | chpasswd; getent shadow x | cut -d: -f2; userdel x'
MANIFEST = r"""
find /etc /home /root /usr/local /var/spool ! -path '/root/.ansible*' ! -name .bash_history \
    ! -path '/etc/*-' ! -name .sudo_as_admin_successful \
    -printf '%p %M %U %G %l\n' -type f -exec sha256sum {} \; | sort
"""


class Host:
    def __init__(self, name, image):
        self.name, self.container = name, container(name)
        run(sys.executable, LAB, "host", "down", name, check=False)
        run(sys.executable, LAB, "host", "up", name, "--image", image)
        inventory = json.loads((STATE / "hosts" / name / "inventory.yml").read_text(encoding="utf-8"))
        variables = inventory["all"]["children"]["jump"]["hosts"][name]
        self.address = variables["ansible_host"]
        variables.update(ansible_user="automation", ansible_ssh_private_key_file=str(KEYS / "automation"))
        sealed = self.sh(HASH, SEALED).strip()
        inventory["all"]["vars"]["hardening_break_glass"] = {"name": "sealed", "password_hash": sealed}
        self.sh('echo "root:$1" | chpasswd', BOOTSTRAP)
        inventory["all"]["vars"]["hardening_bootstrap_password"] = BOOTSTRAP
        root = self.sh("getent shadow root | cut -d: -f2").strip()
        self.secrets = [SEALED, BOOTSTRAP, sealed, root]
        assert all(len(secret) > 10 for secret in self.secrets)
        inventory["all"]["vars"]["admin_accounts_alarm"] = ["touch", "/run/alarm"]
        self.inventory = STATE / "hosts" / name / "accounts.json"
        self.inventory.write_text(json.dumps(inventory), encoding="utf-8")

    def sh(self, command, *arguments, check=True):
        return run("podman", "exec", self.container, "sh", "-c", command, "sh", *arguments, check=check).stdout

    def manifest(self):
        return self.sh(MANIFEST).splitlines()

    def play(self, name, *options, check=True):
        options = ["--inventory", str(self.inventory), f"rampart.hardening.{name}", *options]
        return run("ansible-playbook", *options, check=check, cwd=self.inventory.parent)

    def harden(self, *options, check=True):
        done = self.play("site", "--tags", "admin_accounts", *options, check=check)
        return done.stdout + done.stderr

    def failing(self):
        """The controls of accounts that verify finds broken."""
        said = self.play("verify", "-e", "verify_roles=admin_accounts", check=False).stdout
        return set(re.findall(r"^(?:fail|error) accounts\.(\w+)", said, re.MULTILINE))

    def login(self, user, key=None, command="sudo -n id -un || id -un"):
        options = ["-i", str(KEYS / (key or user)), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        argv = ["ssh", *ANYWHERE, *options, f"{user}@{self.address}", command]
        done = run(*argv, check=False, stdin=subprocess.DEVNULL)
        return done.stdout.strip() if done.returncode == 0 else "refused"

    def console(self, *steps):
        """A talk at a terminal: pairs of what is awaited and what is typed then."""
        child = pexpect.spawn("podman", ["exec", "-it", self.container, *steps[0]], timeout=20, encoding="utf-8")
        for awaited, typed in steps[1:]:
            child.expect(awaited)
            if typed:
                child.sendline(typed)
        child.close(force=True)


@pytest.fixture(scope="module", params=releases("trixie"))
def host(request):
    host = Host(f"accounts-{request.param}", request.param)
    host.sh(HISTORY)
    host.before = host.manifest()
    yield host
    run(sys.executable, LAB, "host", "down", host.name)


def predicted(said):
    """The files that a run names in its diff, with the lines of each that differ."""
    files, current = {}, None
    for line in said.splitlines():
        if found := re.match(r"\+\+\+ after: (\S+)", line):
            current = files.setdefault(found[1], [])
        elif current is not None and re.match(r"[+-]", line) and not line.startswith("---"):
            current.append(line)
    return files


def sleeping(host):
    return re.findall(r"sleep (\d+)$", host.sh("pgrep -ax sleep", check=False), re.MULTILINE)


# the tests of this module tell one story, in order


def test_check_mode_changes_nothing_and_a_run_does_what_it_said(host):
    said = host.harden("--check", "--diff", "-vvv")
    assert host.manifest() == host.before
    assert "changed=0" not in said
    for name, command in (("toor", "sleep 902"), ("test", "sudo sleep 903")):
        argv = ["sshpass", "-p", name, "ssh", *ANYWHERE, "-tt", f"{name}@{host.address}", command]
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _attempt in range(20):
        if set(sleeping(host)) == {"901", "902", "903"}:
            break
        time.sleep(1)
    assert set(sleeping(host)) == {"901", "902", "903"}
    done = host.harden("--diff", "-vvv")
    assert not [secret for secret in host.secrets if secret in said + done]
    # the automation account came first and took a number; nothing else differs
    assert set(predicted(said)) == set(predicted(done))


def test_no_secret_is_in_the_evidence_or_the_journal(host, tmp_path):
    done = host.play("verify", "-vvv", "-e", f"verify_output={tmp_path}", "-e", "verify_roles=admin_accounts")
    seen = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert "accounts.root_locked" in "".join(seen)
    journal = host.sh("cat /var/lib/rampart/changes/*/change.json")
    assert "/etc/shadow" in journal
    for place in (done.stdout, done.stderr, *seen, journal):
        assert not [secret for secret in host.secrets if secret in place]


def test_who_should_get_in_does_and_who_should_not_does_not(host):
    assert host.login("root") == host.login("test") == host.login("toor", "root") == "refused"
    assert host.login("automation") == "root"
    assert host.login("alice") == "alice"
    assert host.login("bob") == "bob"
    assert host.login("debian", "root") == "debian"
    assert host.sh("su - root -c 'id -un'").strip() == "root"
    options = [*ANYWHERE, "-i", str(KEYS / "root"), "-o", "IdentitiesOnly=yes"]
    assert "/home/partner" in run("sftp", *options, f"partner@{host.address}", input="pwd\n").stdout


def test_sessions_end_and_what_a_service_runs_goes_on(host):
    assert sleeping(host) == ["901"]


def test_what_is_not_ours_stays(host):
    assert host.sh("cat /srv/keys/authorized_keys")
    assert host.sh("tail -n 1 /etc/passwd") == "+@ops::::::\n"
    assert host.sh("test ! -e /etc/gshadow && grep -c odd /etc/shadow").strip() == "1"
    assert "%ops ALL=(root) NOPASSWD: /usr/bin/systemctl restart web\n" in host.sh("cat /etc/sudoers.site")
    assert "/var/lib/pg:/bin/bash" in host.sh("getent passwd pg")
    host.sh("visudo -c")


def test_a_second_run_has_nothing_to_do(host):
    assert "changed=0" in host.harden()
    assert "changed=0" in host.harden("--check")


def test_a_person_sets_the_first_password_and_sudo_asks_for_it(host):
    host.console(
        ["login", "-f", "alice"],
        (r"\$ ", "sudo rampart-first-password"),
        ("New password:", "Correct-horse-1"),
        ("new password:", "Correct-horse-1"),
        (r"\$ ", "sudo -k; sudo id -un"),
        ("password for alice:", "Correct-horse-1"),
        ("root", "sudo rampart-first-password"),
        ("has a password already", None),
    )
    assert "changed=0" in host.harden()


def test_the_sealed_account_works_at_the_console_and_everybody_hears_of_it(host):
    host.console(
        ["login"],
        ("login:", "sealed"),
        ("assword:", SEALED),
        (r"\$ ", "sudo id -un"),
        ("password for sealed:", SEALED),
        ("root", None),
    )
    assert "sealed in use" in host.sh("journalctl --priority alert --no-pager")
    assert host.sh("test -e /run/alarm && echo rung") == "rung\n"


def test_undo_puts_every_byte_back(host):
    refused = host.play("undo", "-e", "undo=all", check=False)
    assert "edited since" in refused.stdout + refused.stderr  # a person has set a password
    host.play("undo", "-e", "undo=all", "-e", "undo_force=true")
    assert set(host.manifest()) ^ set(host.before) == set()
    assert host.login("root") == "root"


def test_verify_sees_every_drift_and_a_run_mends_it(host):
    assert {"root_locked", "uid0", "leftover", "sudo_nopasswd", "admins"} < host.failing()
    host.harden()
    assert host.failing() == set()
    host.sh(DRIFT, (KEYS / "root.pub").read_text(encoding="utf-8").strip())
    assert host.failing() == {
        "root_locked", "root_keys", "root_console", "uid0", "empty_passwords", "leftover", "admins", "admin_keys",
        "automation", "login_group", "sudo_admins", "sudo_nopasswd", "sudo_pty", "sudo_log", "sudo_timeout",
        "system_shells", "break_glass",
    }  # fmt: skip
    refused = host.harden(check=False)
    assert "eve may become root with sudo (/etc/sudoers.d/zz) and is not declared" in refused
    assert "changed=0" in refused
    host.harden("-e", '{"admin_accounts_disabled": ["eve"]}')
    assert host.failing() == set()
