# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role services on hosts with a history: what is wanted goes on, what nobody declared ends, undo brings it back."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import time

import pytest
from hardened import releases, run
from lab import container

LAB = pathlib.Path(__file__).with_name("lab.py")
STATE = LAB.parents[2] / ".cache" / "lab"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -q update && apt-get -qy --no-install-recommends install "
LEFTOVER = {"program": "leftover", "reason": "the lab's own"}
SSH = {"from": "controllers", "to": "all", "port": 22}
UNITS = "/etc/systemd/system"
WAIT = "for try in $(seq 100); do {} && exit; sleep 1; done; exit 1"
# A unit of the name of a server, which listens on a port and answers
SERVER = """[Unit]
Description=A server
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind {bind} --directory /srv/leftover {port}
[Install]
WantedBy=multi-user.target
"""


class Said(str):
    @property
    def changed(self):
        return int(re.search(r"changed=(\d+)", self)[1])

    @property
    def paths(self):
        return re.findall(r"(?m)^\+\+\+ after: (.*)$", self)


class Host:
    def __init__(self, name, image, *options):
        self.name = name
        run(sys.executable, LAB, "host", "down", name, check=False)
        run(sys.executable, LAB, "host", "up", name, "--image", image, *options)
        self.inventory = STATE / "hosts" / name / "inventory.yml"
        self.address = json.loads(self.inventory.read_text("utf-8"))["all"]["children"]["jump"]["hosts"][name][
            "ansible_host"
        ]

    def sh(self, command, check=True):
        return run("podman", "exec", container(self.name), "sh", "-c", command, check=check).stdout

    def write(self, path, text):
        run("podman", "exec", "--interactive", container(self.name), "tee", path, input=text)

    def login(self, command):
        """What the command says in a login over SSH as the automation account."""
        argv = ["-i", STATE / "keys" / "automation", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o"]
        argv += ["UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", f"automation@{self.address}", command]
        return run("ssh", "-F", "/dev/null", *argv, stdin=subprocess.DEVNULL).stdout.strip()

    def play(self, playbook, *options, check=True, **variables):
        variables = {"hardening_services": [LEFTOVER], "hardening_confirm_timeout": 40, **variables}
        done = run("ansible-playbook", "--inventory", self.inventory, f"rampart.hardening.{playbook}", "--extra-vars",
                   json.dumps(variables), *options, check=check)  # fmt: skip
        return Said(done.stdout + done.stderr)

    def harden(self, *options, **more):
        return self.play("site", "--tags", "services", *options, **more)

    def undo(self, what="role:services"):
        return self.play("undo", undo=what)

    def verdicts(self, tmp, **variables):
        """{control: (verdict, message)}"""
        said = self.play("verify", check=False, verify_roles="services", verify_output=str(tmp), **variables)
        latest = pathlib.Path(tmp, "latest/evidence.json")
        assert latest.exists(), said[-3000:]
        results = json.loads(latest.read_text("utf-8"))["hosts"][self.name]["results"]
        return {control: (result["verdict"], result["message"]) for control, result in results.items()}

    def active(self, *units):
        return [unit for unit in units if self.sh(f"systemctl is-active {unit}", check=False).strip() == "active"]

    def serve(self, unit, port, bind="::", where="/lib/systemd/system"):
        self.write(f"{where}/{unit}", SERVER.format(port=port, bind=bind))
        self.sh(f"systemctl daemon-reload; systemctl enable --now {unit}; "
                f"until ss -Hlnt | grep -q ':{port} '; do sleep .1; done")  # fmt: skip

    def manifest(self):
        """Files of /etc, and what runs."""
        return self.sh(
            "find /etc -exec stat -c '%U %G %a %F %N' {} + | sort; find /etc -type f -exec sha256sum {} + | sort -k 2;"
            "systemctl list-units --plain --no-legend -t service,socket,path --state=active | awk '{print $1}' |"
            " grep -v -e session -e user -e rampart -e hostnamed -e run- | sort"
        )


def fresh(request, image, *options):
    host = Host(f"services-{image}", image, *options)
    request.addfinalizer(lambda: run(sys.executable, LAB, "host", "down", host.name))
    return host


@pytest.fixture(scope="module", params=releases("bookworm"))
def plain(request):
    return fresh(request, request.param, "--cap", "SYS_ADMIN")


@pytest.fixture
def host(plain):
    yield plain
    plain.undo("all")


def test_it_is_predicted_settles_is_seen_and_undone(host, tmp_path):
    before = host.manifest()
    predicted = host.harden("--check", "--diff", hardening_level=2)
    assert host.manifest() == before
    done = host.harden("--diff", hardening_level=2)
    assert predicted.changed == done.changed == 1
    assert predicted.paths == done.paths
    assert host.harden("--diff", hardening_level=2).changed == 0
    assert host.harden("--check", hardening_level=2).changed == 0
    verdicts = host.verdicts(tmp_path, hardening_level=2)
    assert {name for name, (verdict, __) in verdicts.items() if verdict != "pass"} == {
        "services.sandbox_nginx", "services.sandbox_mariadb",
    }  # fmt: skip
    assert verdicts["services.sandbox_nginx"][0] == "na"
    host.undo()
    assert host.manifest() == before


BREAK = {
    "services.listening": "systemd-run --unit=surprise python3 -m http.server 9999; "
    "until ss -Hlnt | grep -q :9999; do sleep .1; done",
    "services.unneeded_servers": "printf '[Service]\nExecStart=sleep infinity\n' >/lib/systemd/system/snmpd.service; "
    "systemctl daemon-reload; systemctl start snmpd",
    "services.unneeded_clients": "printf '\nPackage: telnet\nStatus: install ok installed\nVersion: 1\n"
    "Architecture: all\nMaintainer: x <x@x>\nDescription: x\n\n' >>/var/lib/dpkg/status",
    "services.cron_permissions": "chmod 755 /etc/cron.daily",
    "services.cron_allow": "rm /etc/cron.allow",
    "services.sandbox_ssh": f"rm {UNITS}/ssh.service.d/rampart-sandbox.conf; systemctl daemon-reload",
    "services.sandbox_cron": "systemctl edit --help >/dev/null; mkdir -p /run/systemd/system/cron.service.d; "
    "printf '[Service]\nLockPersonality=no\n' >/run/systemd/system/cron.service.d/zz.conf; systemctl daemon-reload",
}
MEND = """
systemctl stop surprise snmpd; rm -f /lib/systemd/system/snmpd.service /run/systemd/system/cron.service.d/zz.conf
cp /root/status /var/lib/dpkg/status; systemctl daemon-reload
"""


def test_each_control_is_seen_to_fail(host, tmp_path):
    host.harden(hardening_level=2)
    host.sh("cp /var/lib/dpkg/status /root/status")
    for command in BREAK.values():
        host.sh(command)
    verdicts = host.verdicts(tmp_path, hardening_level=2)
    host.sh(MEND)
    assert {name for name, (verdict, __) in verdicts.items() if verdict == "fail"} == set(BREAK)
    assert "9999/tcp" in verdicts["services.listening"][1]
    assert "surprise.service" in verdicts["services.listening"][1]
    assert host.harden("--check", hardening_level=2).changed == 1
    host.play("undo", undo="all", undo_force=True)


def test_servers_that_nobody_declared_end_and_come_back(host):
    host.serve("snmpd.service", 8161)
    host.serve("vsftpd.service", 21)
    host.serve("dnsmasq.service", 8053, where=UNITS)
    host.serve("apache2.service", 8081, bind="127.0.0.1")
    host.serve("rsync.service", 873)
    host.sh(f"printf '[Unit]\nRequires=rsync.service\n[Service]\nExecStart=sleep infinity\n' >{UNITS}/backup.service; "
            "systemctl daemon-reload; systemctl start backup")  # fmt: skip
    every = ("snmpd", "vsftpd", "dnsmasq", "apache2", "rsync", "backup")
    flows = {"hardening_flows": [SSH, {"from": "any", "to": "jump", "port": 21}]}
    try:
        before = host.manifest()
        said = host.harden(**flows)
        assert host.active(*every) == ["vsftpd", "dnsmasq", "apache2", "rsync", "backup"]
        assert host.sh("readlink /etc/systemd/system/snmpd.service").strip() == "/dev/null"
        for words in ("stops snmpd.service", "dnsmasq.service is a unit of this site's own", "by loopback",
                      "rsync is left running, it is used by backup.service"):  # fmt: skip
            assert words in said
        assert host.harden(**flows).changed == 0
        # as soon as it is declared it is back
        host.harden(**{**flows, "hardening_services": [LEFTOVER, {"program": "snmpd"}]})
        assert host.active("snmpd") == ["snmpd"]
        host.harden(**flows)
        assert host.active("snmpd") == []
        host.undo()
        assert host.manifest() == before
        # somebody is connected
        with subprocess.Popen(["podman", "exec", container(host.name), "python3", "-c",
                               "import socket, time; s = socket.create_connection(('::1', 8161)); time.sleep(60)"]
                              ) as client:  # fmt: skip
            time.sleep(1)
            said = host.harden(**flows)
            client.kill()
        assert "snmpd is left running, it is used by connections to port 8161" in said
        assert host.active("snmpd") == ["snmpd"]
    finally:
        host.sh("; ".join(f"systemctl disable --now {unit}" for unit in every) + "; cd /lib/systemd/system; rm -f "
                f"snmpd.service vsftpd.service apache2.service rsync.service {UNITS}/dnsmasq.service "
                f"{UNITS}/backup.service; systemctl daemon-reload", check=False)  # fmt: skip


def test_real_servers(request, tmp_path):
    host = fresh(request, "trixie")
    host.sh(INSTALL + "avahi-daemon rpcbind cups-daemon bind9 inetutils-telnet at")
    units = ("avahi-daemon.socket", "avahi-daemon.service", "rpcbind.socket", "rpcbind.service", "cups.socket",
             "cups.path", "cups.service", "named.service")  # fmt: skip
    running = host.active(*units)
    assert len(running) > 5
    host.harden()
    assert host.active(*units) == []
    assert host.sh("systemctl start named; systemctl start cups", check=False) == ""
    assert host.active(*units) == []
    verdicts = host.verdicts(tmp_path)
    assert {name for name, (verdict, __) in verdicts.items() if verdict == "fail"} == {"services.unneeded_clients"}
    host.undo()
    assert host.active(*units) == running
    # a resolver of its own, and the purge
    host.sh("cp /etc/resolv.conf /root/; echo nameserver 127.0.0.1 >/etc/resolv.conf")
    assert "bind9 is left running, it is used by resolver" in host.harden()
    host.sh("cp /root/resolv.conf /etc/resolv.conf")
    predicted = host.harden("--check", services_purge=True)
    done = host.harden(services_purge=True)
    assert predicted.changed == done.changed == 2
    assert host.harden(services_purge=True).changed == 0
    assert "ok installed" not in host.sh("dpkg -s inetutils-telnet bind9 rpcbind avahi-daemon cups-daemon", check=False)
    assert host.sh("cat /etc/at.allow").split()[-1] == "root"
    assert {verdict for verdict, __ in host.verdicts(tmp_path).values()} == {"pass"}


def test_who_may_use_cron(host):
    before = host.sh("ls -l /etc/cron.allow", check=False)
    host.sh("for name in ann ben eve; do useradd -m $name; done; "
            "echo '* * * * * touch /tmp/ann-was-here' | crontab -u ann -; "
            "echo '* * * * * true' | crontab -u eve -; echo eve >/etc/cron.deny")  # fmt: skip
    ask = "setpriv --reuid={0} --regid={0} --init-groups crontab -l 2>&1"
    try:
        said = host.harden()
        assert "ann has jobs of cron and may go on to change them" in said
        assert host.harden().changed == 0
        assert "touch" in host.sh(ask.format("ann"))
        assert "not allowed" in host.sh(ask.format("ben"), check=False)
        assert "not allowed" in host.sh(ask.format("eve"), check=False)
        host.sh("rm -f /tmp/ann-was-here")
        host.harden(hardening_cron_users=["ben"])
        assert "no crontab" in host.sh(ask.format("ben"), check=False)
        assert "touch" in host.sh(ask.format("ann"))
        host.undo()
        # a list of the site's own stays as it is
        host.sh("echo ben >/etc/cron.allow; chmod 644 /etc/cron.allow")
        host.harden()
        assert host.sh("cat /etc/cron.allow; stat -c '%U %G %a' /etc/cron.allow").split() == [
            "ben", "root", "crontab", "640",
        ]  # fmt: skip
        assert host.harden().changed == 0
        assert "no crontab" in host.sh(ask.format("ben"), check=False)
        host.undo()
        # jobs go on, whoever has them
        host.harden()
        host.sh("rm -f /tmp/ann-was-here")
        host.sh(WAIT.format("[ -e /tmp/ann-was-here ]"))
    finally:
        host.undo("all")
        host.sh("crontab -u ann -r; crontab -u eve -r; userdel -r ann; userdel -r ben; userdel -r eve; "
                "rm -f /etc/cron.deny /etc/cron.allow", check=False)  # fmt: skip
    assert host.sh("ls -l /etc/cron.allow", check=False) == before


EVERYDAY = """
set -e
id -un
mount -t tmpfs tmpfs /mnt
unshare --mount --uts true
apt-get -q update >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install hello at >/dev/null
hello
systemctl restart systemd-tmpfiles-clean.timer
passwd --status root >/dev/null
ip address add 192.0.2.9/32 dev lo
ip address del 192.0.2.9/32 dev lo
systemd-run --wait --quiet true
crontab -l >/dev/null 2>&1 || true
setpriv --reuid=nobody --regid=nogroup --clear-groups sudo -n true 2>&1 | grep -q password
echo done
"""


def test_sessions_and_jobs_work_in_their_sandbox(host, tmp_path):
    host.sh("useradd -m -s /bin/bash automation; mkdir -p /home/automation/.ssh; "
            "echo 'automation ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/automation")  # fmt: skip
    host.write("/home/automation/.ssh/authorized_keys", (STATE / "keys" / "automation.pub").read_text("utf-8"))
    host.write("/root/everyday.sh", EVERYDAY)
    session = subprocess.Popen(
        ["ssh", "-F", "/dev/null", "-i", STATE / "keys" / "automation", "-o", "StrictHostKeyChecking=no", "-o",
         "UserKnownHostsFile=/dev/null", f"automation@{host.address}", "sleep 60; echo still here"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    time.sleep(2)
    host.harden(hardening_level=2)
    try:
        said = host.login("sudo sh /root/everyday.sh").splitlines()
        assert said[0] == "root"
        assert said[-1] == "done"
        assert "/mnt" in host.sh("cat /proc/1/mounts")  # what is mounted in a session is mounted for all
        # the sandbox is there: RDS is refused by the filter (EAFNOSUPPORT), and personality by it (EPERM)
        refused = 'python3 -c "import socket\ntry: socket.socket(21, 5, 0)\nexcept OSError as e: print(e.errno)"'
        assert host.login(refused) == "97"
        host.write("/etc/cron.d/everyday", "* * * * * root umount /mnt; sh /root/everyday.sh >/root/cron.out 2>&1\n")
        host.sh("chmod 644 /etc/cron.d/everyday; " + WAIT.format("grep -q done /root/cron.out"))
        assert session.communicate(timeout=70)[0].strip() == "still here"  # what ran before ran on
        host.login("sudo systemctl restart ssh.service")
        assert host.login("sudo id -un") == "root"
    finally:
        session.kill()
        host.sh("rm -f /etc/cron.d/everyday /root/everyday.sh /etc/sudoers.d/automation; umount /mnt; "
                "apt-get -qy purge hello at; rm -f /etc/at.deny; userdel -rf automation", check=False)  # fmt: skip


SITE = """
server { listen 8088; location /app { proxy_pass http://unix:/tmp/app.sock; } location /home { alias /home/site; } }
"""
APP = """
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(204); self.end_headers()
    def address_string(self): return ''
server = socketserver.UnixStreamServer('/tmp/app.sock', Handler)
os.chmod('/tmp/app.sock', 0o666)
server.serve_forever()
"""


def web(host, path="/", port=80):
    asked = f"http://{host.address}:{port}{path}"
    return run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", asked, check=False).stdout


def test_nginx_serves_in_its_sandbox(request, tmp_path):
    host = fresh(request, "web", "--cap", "SYS_ADMIN")
    policy = {"hardening_level": 2, "hardening_flows": [SSH, {"from": "any", "to": "jump", "port": [80, 443]}]}
    host.sh("echo hello >/var/www/html/index.html; " + INSTALL + "logrotate")
    assert web(host) == "200"
    host.harden(**policy)
    assert host.harden(**policy).changed == 0
    assert web(host) == "200"
    host.sh("systemctl reload nginx && logrotate -f /etc/logrotate.d/nginx")
    for _second in range(20):  # the workers take up the new file some moments later
        assert web(host, "/rotated") == "404"
        if "rotated" in host.sh("cat /var/log/nginx/access.log"):
            break
        time.sleep(1)
    else:
        pytest.fail("nginx does not write to the log that logrotate made")
    host.sh("systemctl restart nginx")
    assert web(host) == "200"
    verdicts = host.verdicts(tmp_path, **policy)
    assert verdicts["services.sandbox_nginx"][0] == "pass"
    host.sh(f"rm {UNITS}/nginx.service.d/rampart-sandbox.conf; systemctl daemon-reload; systemctl restart nginx")
    assert host.verdicts(tmp_path, **policy)["services.sandbox_nginx"][0] == "fail"
    host.harden(**policy)
    host.play("undo", undo="all", undo_force=True)
    assert web(host) == "200"
    # an application's socket below /tmp, files in a home, and an option that the site has set
    host.sh(f"mkdir -p /home/site {UNITS}/nginx.service.d; echo home >/home/site/x.html; chmod -R a+rX /home/site")
    host.write("/etc/nginx/conf.d/site.conf", SITE)
    host.write("/root/app.py", APP)
    host.write(f"{UNITS}/nginx.service.d/site.conf", "[Service]\nNoNewPrivileges=no\n")
    host.sh("systemctl daemon-reload; systemctl reload nginx; systemd-run --unit=app python3 /root/app.py; "
            + WAIT.format("[ -S /tmp/app.sock ]"))  # fmt: skip
    assert [web(host, path, 8088) for path in ("/app", "/home/x.html")] == ["204", "200"]
    said = host.harden(**policy)
    assert "NoNewPrivileges stays as" in said
    assert [web(host, path, 8088) for path in ("/app", "/home/x.html")] == ["204", "200"]
    host.undo()
    # a broken file: whatever runs goes on
    host.sh("echo nonsense >/etc/nginx/conf.d/broken.conf")
    assert "nginx.service is not sandboxed: its configuration is broken" in host.harden(**policy)
    assert web(host) == "200"
    host.sh("rm /etc/nginx/conf.d/broken.conf")
    host.undo()
    # nobody declares it
    host.sh("systemctl stop app")
    host.harden(hardening_flows=[SSH])
    assert web(host) == "000"
    host.undo()
    assert web(host) == "200"


def test_mariadb_serves_in_its_sandbox(request, tmp_path):
    host = fresh(request, "db", "--cap", "SYS_ADMIN")
    policy = {"hardening_level": 2, "hardening_flows": [SSH, {"from": "any", "to": "jump", "port": 3306}]}

    def ask(statement):
        return host.sh(WAIT.format(f'mariadb -u shop -pshop -h 127.0.0.1 shop -Ne "{statement}"')).split()

    ask("CREATE TABLE t (n INT)")
    ask("INSERT INTO t VALUES (1)")
    host.harden(**policy)
    assert host.harden(**policy).changed == 0
    ask("INSERT INTO t VALUES (2)")
    host.sh("systemctl restart mariadb")
    assert ask("SELECT n FROM t") == ["1", "2"]
    assert host.verdicts(tmp_path, **policy)["services.sandbox_mariadb"][0] == "pass"
    host.undo()
    assert ask("SELECT n FROM t") == ["1", "2"]
    assert host.verdicts(tmp_path, **policy)["services.sandbox_mariadb"][0] == "fail"
    # the moment is the site's own
    later = {**policy, "services_sandbox_restart": ["ssh", "cron"]}
    assert "mariadb.service gets its sandbox when it is next restarted" in host.harden(**later)
    assert host.harden(**later).changed == 0
    host.undo()
    # a helper that needs root checks passwords
    host.sh("mariadb -e \"INSTALL SONAME 'auth_pam'; FLUSH TABLES\"")
    assert "mariadb.service is not sandboxed: it asks PAM" in host.harden(**policy)
