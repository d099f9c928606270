# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role audit on hosts with a history, and with a collector that comes and goes. The kernel's own audit, which no
container is given, is for the virtual machines."""

from __future__ import annotations

import datetime
import ipaddress
import json
import pathlib
import re
import secrets
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hardened import releases, run
from lab import container

LAB = pathlib.Path(__file__).with_name("lab.py")
STATE = LAB.parents[2] / ".cache" / "lab"
NAME = "logs.example.com"
MANIFEST = r"""
find /etc /var/log/sudo.log /var/lib/aide ! -path '/etc/*-' -printf '%p %M %U %G %l\n' -type f -exec sha256sum {} \; |
    grep -v -e ld.so.cache -e /etc/mtab | sort
"""
RESTORE = """
rm -rf /var/lib/rampart /etc/systemd/journald.conf.d /etc/rampart /etc/rsyslog.d/*site* /var/log/sudo.log
rm -f /etc/sudoers.d/*rampart-audit /etc/sudoers.d/*site /etc/rsyslog.d/00-rampart.conf /etc/logrotate.d/rampart-audit
rm -f /etc/systemd/system/rampart-aide* /etc/systemd/system/timers.target.wants/rampart-aide*
systemctl stop 'rampart-aide*'; systemctl daemon-reload; systemctl restart systemd-journald
[ ! -e /etc/default/debsums ] || echo CRON_CHECK=never >/etc/default/debsums
"""
# How the weekly comparison of packages ends, how that is mended, and what verify says of it
NO_COMPARISON = [
    ("mv /usr/bin/debsums /root", "mv /root/debsums /usr/bin", "debsums is not installed"),
    ("chmod -x /etc/cron.weekly/debsums", "chmod +x /etc/cron.weekly/debsums", "/etc/cron.weekly has no job"),
    ("systemctl stop cron", "systemctl start cron", "nothing starts the jobs of /etc/cron.weekly"),
    ("systemctl -q disable cron", "systemctl -q enable cron", "nothing starts the jobs"),
    ("sed -i '/cron.weekly/s/^/#/' /etc/crontab", "sed -i '/cron.weekly/s/^#//' /etc/crontab", "leaves them out"),
    ("echo >/etc/debsums-ignore", "rm /etc/debsums-ignore", "/etc/debsums-ignore takes out every file"),
]
# The receiver of docs/audit-siem.md
RECEIVER = """
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/name"
       PermittedPeer=["*.example.com"])
global(DefaultNetstreamDriverCAFile="/etc/collector/ca.pem"
       DefaultNetstreamDriverCertFile="/etc/collector/cert.pem"
       DefaultNetstreamDriverKeyFile="/etc/collector/key.pem")
template(name="by-host" type="string" string="/var/log/hosts/%HOSTNAME:::secpath-replace%.log")
ruleset(name="hosts") { action(type="omfile" dynaFile="by-host" fileCreateMode="0640" dirCreateMode="0750") }
input(type="imtcp" port="6514" ruleset="hosts")
"""


def wait(look, seconds=40):
    until = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


class Host:
    def __init__(self, name, image):
        self.name = name
        run(sys.executable, LAB, "host", "down", name, check=False)
        self.address = run(sys.executable, LAB, "host", "up", name, "--image", image).stdout.strip()
        self.inventory = STATE / "hosts" / name / "inventory.yml"

    def sh(self, command, check=True):
        return run("podman", "exec", container(self.name), "sh", "-c", command, check=check).stdout

    def write(self, path, text):
        self.sh(f"mkdir -p {pathlib.Path(path).parent}")
        run("podman", "exec", "--interactive", container(self.name), "tee", path, input=text)

    def play(self, book, *options, check=True, **variables):
        variables = {"hardening_confirm_timeout": 45, **variables}
        argv = ["ansible-playbook", f"rampart.hardening.{book}", "-i", self.inventory, "-e", json.dumps(variables)]
        done = run(*argv, *options, check=check)
        return done.stdout + done.stderr

    def site(self, *options, **more):
        return self.play("site", "--tags", "audit", *options, **more)

    def verify(self, output, **more):
        """{control: (verdict, message, what was seen)}."""
        self.play("verify", "-e", "verify_roles=audit", "-e", f"verify_output={output}", check=False, **more)
        found = json.loads((output / "latest" / "evidence.json").read_text(encoding="utf-8"))
        results = found["hosts"][self.name]["results"]
        return {name: (one["verdict"], one["message"], str(one["seen"])) for name, one in results.items()}


def changed(said):
    return int(re.search(r"changed=(\d+)", said)[1])


def red(results):
    return {name for name, one in results.items() if one[0] not in ("pass", "na")}


@pytest.fixture(scope="module", params=releases("bookworm"))
def machine(request):
    host = Host(f"audit-{request.param}", request.param)
    yield host
    run(sys.executable, LAB, "host", "down", host.name)


@pytest.fixture
def host(machine):
    yield machine
    machine.sh(RESTORE, check=False)


# --- the whole way


def test_check_converge_again_undo(host, tmp_path):
    before = host.sh(MANIFEST, check=False)
    predicted = host.site("--check")
    assert host.sh(MANIFEST, check=False) == before
    done = host.site()
    assert changed(predicted) == changed(done) == 1
    assert changed(host.site()) == 0
    assert not red(results := host.verify(tmp_path))
    assert {name for name, one in results.items() if one[0] == "na"} >= {"audit.auditd", "audit.rules", "audit.clock"}
    host.play("undo", "-e", "undo=role:audit")
    host.sh("rm -f /var/log/sudo.log")
    assert host.sh(MANIFEST, check=False) == before


def test_making_the_database_keeps_nobody_waiting(host, tmp_path):
    host.site(hardening_level=2)  # installs AIDE
    assert wait(lambda: host.sh("ls /var/lib/rampart/aide/files.db", check=False))
    host.sh("rm /var/lib/rampart/aide/files.db; mv /usr/bin/aide /usr/bin/aide.real")
    host.sh(
        r"printf '#!/bin/sh\ncase $* in *--init*) exec sleep 600 ;; esac\n' >/usr/bin/aide; chmod 755 /usr/bin/aide"
    )
    began = time.monotonic()
    assert changed(host.site(hardening_level=2)) == 1
    assert changed(host.site(hardening_level=2)) == 0
    assert time.monotonic() - began < 60
    results = host.verify(tmp_path, hardening_level=2)
    assert results["audit.file_integrity"][0] == "pass" and "being made since" in results["audit.file_integrity"][2]
    shown = host.sh("systemctl show rampart-aide-init.service --property Nice,IOSchedulingClass,TimeoutStartUSec")
    assert "Nice=19" in shown and "TimeoutStartUSec=4h" in shown
    assert "idle" in host.sh("ionice -p $(systemctl show -P MainPID rampart-aide-init.service)")
    run(sys.executable, LAB, "host", "restart", host.name)  # which stops it
    assert wait(lambda: "activating" in host.sh("systemctl is-active rampart-aide-init", check=False))
    assert changed(host.site(hardening_level=2)) == 0
    host.sh("systemctl stop rampart-aide-init; mv /usr/bin/aide.real /usr/bin/aide")
    assert changed(host.site(hardening_level=2)) == 1
    assert wait(lambda: host.sh("ls /var/lib/rampart/aide/files.db", check=False))
    assert host.sh("systemctl start rampart-aide-check && echo same") == "same\n"
    host.sh("touch /usr/bin/planted")
    assert "planted" in host.sh(
        "systemctl start rampart-aide-check; journalctl -u rampart-aide-check -n 60", check=False
    )
    host.sh("rm /usr/bin/planted")


def test_drift_is_seen_and_mended(host, tmp_path):
    host.site(hardening_level=2)
    assert wait(lambda: host.sh("ls /var/lib/rampart/aide/files.db", check=False))
    host.write("/run/systemd/journald.conf.d/x.conf", "[Journal]\nStorage=volatile\n")
    host.sh("rm -rf /etc/systemd/journald.conf.d /var/log/journal/*; systemctl restart systemd-journald")
    host.sh("touch /var/log/sudo.log; chmod 644 /var/log/sudo.log")
    host.sh("systemctl stop rampart-aide-check.timer; sed -i s/weekly/monthly/ /etc/default/debsums")
    assert red(results := host.verify(tmp_path, hardening_level=2)) == {
        "audit.journal", "audit.log_permissions", "audit.file_integrity", "audit.package_files"}  # fmt: skip
    assert "CRON_CHECK is monthly" in results["audit.package_files"][1]
    host.sh("rm /run/systemd/journald.conf.d/x.conf; chmod 600 /var/log/sudo.log")
    host.site(hardening_level=2)
    assert not red(host.verify(tmp_path, hardening_level=2))


def test_a_program_replaced_before_the_first_run_is_found(host, tmp_path):
    def judged():
        return host.verify(tmp_path, hardening_level=2)["audit.package_files"]

    def told():
        return host.sh("journalctl --quiet --identifier debsums --output cat --since $(cat /root/since)", check=False)

    host.site(hardening_level=2)  # installs what it needs, which stays
    host.play("undo", "-e", "undo=role:audit")
    before = host.sh(f"rm -f /var/log/sudo.log; {MANIFEST}", check=False)
    host.sh("date +@%s >/root/since; cp -p /usr/bin/cksum /root; printf x >>/usr/bin/cksum")
    assert changed(host.site(hardening_level=2)) == 1
    assert wait(lambda: host.sh("ls /var/lib/rampart/aide/files.db", check=False))
    assert host.sh("systemctl start rampart-aide-check && echo same") == "same\n"
    assert wait(told) == "/usr/bin/cksum\n"
    verdict, message, _seen = judged()
    assert verdict == "fail" and "not as their packages brought them (1): /usr/bin/cksum; " in message
    host.sh("echo ^/usr/bin/cksum$ >/etc/debsums-ignore")
    assert judged()[0] == "pass"
    host.sh("rm /etc/debsums-ignore /usr/bin/cksum")
    assert "missing file /usr/bin/cksum" in judged()[1]
    host.sh("cp -p /root/cksum /usr/bin")
    assert judged()[0] == "pass"
    # the job as cron runs it
    host.sh("date +@%s >/root/since; printf x >>/usr/bin/cksum; cd / && run-parts --report /etc/cron.weekly")
    assert told() == "/usr/bin/cksum\n" and judged()[0] == "fail"
    host.sh("cp -p /root/cksum /usr/bin")
    for broken, mended, words in NO_COMPARISON:
        host.sh(broken)
        verdict, message, _seen = judged()
        host.sh(mended)
        assert verdict == "fail" and words in message
    assert judged()[0] == "pass"
    assert changed(host.site(hardening_level=2)) == 0
    host.play("undo", "-e", "undo=role:audit")
    host.sh("rm -f /var/log/sudo.log")
    assert host.sh(MANIFEST, check=False) == before


# --- hosts with a history


def test_a_site_that_compares_packages_daily_goes_on(host, tmp_path):
    host.site(hardening_level=2)
    host.write("/etc/default/debsums", "CRON_CHECK=daily\n")
    assert changed(host.site(hardening_level=2)) == 0
    verdict, _message, seen = host.verify(tmp_path, hardening_level=2)["audit.package_files"]
    assert verdict == "pass" and "daily by cron.service" in seen
    host.site()
    assert host.sh("cat /etc/default/debsums") == "CRON_CHECK=daily\n"


def test_without_cron_a_timer_starts_the_comparison_of_packages(host, tmp_path):
    def judged():
        return host.verify(tmp_path, hardening_level=2)["audit.package_files"]

    host.sh("apt-get -qy purge cron")
    try:
        host.site(hardening_level=2)
        assert changed(host.site(hardening_level=2)) == 0
        verdict, _message, seen = judged()
        assert verdict == "pass" and "weekly by rampart-debsums.timer" in seen
        host.sh("systemctl start rampart-debsums.service; systemctl stop rampart-debsums.timer")
        assert "nothing starts the jobs" in judged()[1]
        assert changed(host.site(hardening_level=2)) == 1
        host.play("undo", "-e", "undo=role:audit")
        assert "rampart" not in host.sh("systemctl list-units --all --plain '*.timer'; systemctl --failed")
    finally:
        host.sh("apt-get -qy --no-install-recommends install cron")


def test_packages_are_not_compared_once_that_is_not_asked(host):
    host.site(hardening_level=2)
    assert "CRON_CHECK=weekly" in host.sh("cat /etc/default/debsums")
    host.site()
    assert "CRON_CHECK=never" in host.sh("cat /etc/default/debsums")
    assert changed(host.site()) == 0


def test_what_a_site_has_set_stays(host, tmp_path):
    host.write("/etc/systemd/journald.conf.d/50-site.conf", "[Journal]\nSystemMaxUse=300M\nStorage=volatile\n")
    said = host.site()
    assert "overrides /etc/systemd/journald.conf.d/50-site.conf:3 Storage=volatile" in said
    assert "SystemMaxUse=300M" in host.sh("cat /etc/systemd/journald.conf.d/zz-rampart.conf")
    assert not red(host.verify(tmp_path))
    assert changed(host.site()) == 0


@pytest.mark.parametrize(
    ("control", "path", "text", "words"),
    [
        (
            "audit.journal",
            "/etc/systemd/journald.conf.d/zzz.conf",
            "[Journal]\nStorage=none\n",
            "zzz.conf:2 Storage=none comes after",
        ),
        (
            "audit.log_permissions",
            "/etc/rsyslog.d/50-site.conf",
            "$FileCreateMode 0644\n",
            "50-site.conf:1 lets rsyslog make files",
        ),
    ],
)
def test_what_would_undo_ours_is_refused_by_name(host, control, path, text, words):
    host.write(path, text)
    before = host.sh(MANIFEST, check=False)
    for options in (["--check"], []):
        said = host.site(*options, check=False)
        assert words in said and "failed=1" in said
    assert host.sh(MANIFEST, check=False) == before
    waiver = {"control": control, "hosts": ["all"], "reason": "test", "owner": "test", "until": "2099-01-01"}
    host.site(hardening_waivers=[waiver])


# --- the collector


def certificate(folder, name, authority=None):
    """A key and a certificate below `folder`, signed by `authority` (key, certificate) or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority[0] if authority else key
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(authority[1].subject if authority else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        # without these the Python of Debian 13 takes no certificate
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, *[False] * 4, authority is None, *[False] * 3), critical=True)
        .sign(issuer, hashes.SHA256())
    )  # fmt: skip
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption()).decode()  # fmt: skip
    return {"pair": (key, made), "cert": pem, "key": private}


class Collector(Host):
    def __init__(self, name, image):
        super().__init__(name, image)
        assert ipaddress.ip_address(self.address)
        self.sh("apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "
                "rsyslog rsyslog-gnutls")  # fmt: skip
        self.authority, self.stranger = certificate(None, "ours"), certificate(None, "another")
        self.write("/etc/rsyslog.d/10-receiver.conf", RECEIVER)
        self.identify(self.authority)

    def identify(self, authority):
        """Show a certificate of this authority from now on."""
        own = certificate(None, NAME, authority["pair"])
        self.write("/etc/collector/ca.pem", self.authority["cert"])
        self.write("/etc/collector/cert.pem", own["cert"])
        self.write("/etc/collector/key.pem", own["key"])
        self.sh("systemctl restart rsyslog")

    def received(self, word):
        return self.sh(f"cat /var/log/hosts/* | grep -c {word}", check=False).strip()


@pytest.fixture(scope="module")
def collector():
    made = Collector("audit-collector", "bookworm")
    yield made
    run(sys.executable, LAB, "host", "down", made.name)


def test_logs_reach_a_collector_that_comes_and_goes(host, collector, tmp_path):
    own = certificate(None, f"{host.name}.example.com", collector.authority["pair"])
    to = {
        "host": collector.address,
        "peer": NAME,
        "ca": collector.authority["cert"],
        "cert": own["cert"],
        "key": own["key"],
    }
    said = host.site("--check", "--diff", hardening_log_collector=to)
    said += host.site("--diff", hardening_log_collector=to)
    assert own["key"].splitlines()[1] not in said
    assert changed(host.site(hardening_log_collector=to)) == 0
    assert host.sh("stat --format '%a %U' /etc/rampart/audit/client.key") == "600 root\n"
    word = secrets.token_hex(8)
    host.sh(f"logger {word}")
    assert wait(lambda: collector.received(word) == "1"), collector.sh("journalctl -u rsyslog | tail")
    results = host.verify(tmp_path, hardening_log_collector=to)
    assert not red(results) and results["audit.forwarding"][0] == "pass"

    # away for a while: nothing waits, nothing is lost, nothing comes twice
    collector.sh("systemctl stop rsyslog.service syslog.socket")
    assert red(host.verify(tmp_path, hardening_log_collector=to)) == {"audit.forwarding"}
    began = time.monotonic()
    host.sh(f"for i in $(seq 300); do logger {word}-$i-away; done")
    assert time.monotonic() - began < 10
    assert wait(lambda: host.sh(f"grep -c {word}-.*-away /var/log/syslog") == "300\n")
    host.sh("systemctl restart rsyslog")  # what waits outlives it, on the disk
    collector.sh("systemctl start rsyslog")
    assert wait(lambda: int(collector.received(f"{word}-.*-away")) >= 290, 90), collector.received(word)
    lost = 300 - int(collector.sh(f"grep -ho '{word}-[0-9]*-away' /var/log/hosts/* | sort -u | wc -l"))
    assert lost == 0, f"{lost} messages never came"

    # somebody else in its place is told nothing
    collector.identify(collector.stranger)
    host.sh(f"systemctl restart rsyslog; logger {word}-secret")
    time.sleep(8)
    assert collector.received(f"{word}-secret") == "0"
    results = host.verify(tmp_path, hardening_log_collector=to)
    assert red(results) == {"audit.forwarding"} and "certificate" in results["audit.forwarding"][1].lower()
    collector.identify(collector.authority)
    assert wait(lambda: int(collector.received(f"{word}-secret")) >= 1, 120), host.sh("journalctl -u rsyslog -n 40")


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ({"host": "logs.example.com"}, "lacks ca"),
        ({"host": "logs.example.com", "ca": "x"}, "ca is not PEM"),
        ({"host": 'x" other="y', "ca": "-----BEGIN CERTIFICATE-----"}, "host is no name"),
        ({"host": "x", "ca": "-----BEGIN CERTIFICATE-----", "cert": "-----BEGIN C-----"}, "cert and key come together"),
    ],
)
def test_a_collector_that_cannot_be_is_refused(host, to, words):
    assert words in host.site("--check", check=False, hardening_log_collector=to)
