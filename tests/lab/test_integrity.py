# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role integrity on hosts with a history, judged by find, stat and dpkg, and by somebody who swaps directories."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import pytest
from hardened import releases, run
from lab import container

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/lab/lab.py"
STATE = ROOT / ".cache/lab"
# One of each, below a directory that one command takes away again
HISTORY = r"""
set -e
id mallory >/dev/null 2>&1 || useradd --create-home mallory
tar --create --file /root/etc.tar --directory / etc/passwd- etc/shadow etc/gshadow etc/shells etc/sudoers.d \
    usr/bin/find usr/bin/chfn usr/bin/newgrp var/lib/dpkg/statoverride
install -d -m 0755 /srv/odd /srv/odd/allowed /srv/odd/engine/.local/share/containers
install -d -m 0777 /srv/odd/open '/srv/odd/open/and deep' && install -d -m 2777 /srv/odd/group
cd /srv/odd
for name in ww "$(printf 'bad\377name')" "$(printf 'new\nline')" '$(id) "q"' allowed/f engine/.local/share/containers/f
do echo x >"$name"; chmod 666 "$name"; done
mkfifo pipe; chmod 666 pipe; ln -s /etc/shadow link; ln ww twin
truncate --size 10G huge; chmod 666 huge
echo x >orphan; chown 4242:4343 orphan; echo x >delegated; chown 100000:100000 delegated
cp /bin/bash suidbash; chmod 4755 suidbash
cp /bin/true sgidtrue; chgrp shadow sgidtrue; chmod 2755 sgidtrue
cp /bin/true captrue
python3 -c 'import os, struct
os.setxattr("/srv/odd/captrue", "security.capability", struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0))'
chmod u+s /usr/bin/find
chmod 666 /etc/passwd-; chmod 644 /etc/shadow; chown mallory /etc/gshadow; chmod 400 /etc/gshadow; chmod 666 /etc/shells
chmod 755 /root
"""
RESTORE = """
rm -rf /var/lib/rampart /srv/odd /home/mallory/*
[ ! -e /root/etc.tar ] || tar --extract --preserve-permissions --file /root/etc.tar --directory / && rm -f /root/etc.tar
chmod 700 /root; chmod 4755 /usr/bin/chfn /usr/bin/newgrp
"""
MANIFEST = r"""
find /etc /srv /usr /boot /root /home /var/lib/dpkg /var/spool -ignore_readdir_race -path /root/.ansible -prune -o \
    -path '*/__pycache__' -prune -o -printf '%p %M %U %G %s %l\0' | LC_ALL=C sort --zero-terminated | tr '\0\377' '\n?'
"""
ALLOWED = {"integrity_world_writable_allowed": ["/srv/odd/allowed/*"]}
BAD = ["system_files", "world_writable", "sticky_bit", "unowned", "setuid"]


class Host:
    def __init__(self, name, image):
        self.name = name
        run(sys.executable, LAB, "host", "down", name, check=False)
        run(sys.executable, LAB, "host", "up", name, "--image", image)
        self.inventory = STATE / "hosts" / name / "inventory.yml"

    def sh(self, command, check=True):
        return run("podman", "exec", container(self.name), "sh", "-c", command, check=check).stdout

    def play(self, tasks, variables, *options, check=True):
        """The tasks on this host, and the results of the last of them."""
        playbook = self.inventory.with_name("integrity-play.json")
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": tasks}]))
        done = run("ansible-playbook", "--inventory", self.inventory, playbook, "--verbose", *options, check=check)
        return Said(done.stdout + done.stderr)

    def harden(self, *options, check=True, **variables):
        role = {"ansible.builtin.import_role": {"name": "rampart.hardening.integrity"}}
        return self.play([role], {"hardening_confirm_timeout": 30, **variables}, *options, check=check)

    def undo(self, **more):
        return self.play([{"rampart.hardening.undo": {"what": "all", **more}}], {})

    def verify(self, **variables):
        """What the baseline tests make of the host: {control: pass, fail, na or error}."""
        output = self.inventory.with_name("evidence")
        asked = ["-e", "verify_roles=integrity", "-e", f"verify_output={output}", "-e", json.dumps(variables)]
        run("ansible-playbook", "--inventory", self.inventory, "rampart.hardening.verify", *asked, check=False)
        evidence = json.loads((output / "latest/evidence.json").read_text(encoding="utf-8"))
        (seen,) = evidence["hosts"].values()
        return {name.removeprefix("integrity."): one["observed"] for name, one in seen["results"].items()}

    def mode(self, path):
        return self.sh(f"stat --format '%a %U %G' '{path}'").strip()

    def manifest(self):
        return self.sh(MANIFEST)


class Said(str):
    @property
    def changed(self):
        return int(re.search(r"changed=(\d+)", self)[1])

    @property
    def result(self):
        found = re.findall(r"(?m)^(?:ok|changed|fatal): \[\S+\](?:: FAILED!)? => (\{.*\})$", self)
        return json.loads(found[-1])


@pytest.fixture(scope="module", params=releases("trixie"))
def machine(request):
    host = Host(f"integrity-{request.param}", request.param)
    yield host
    run(sys.executable, LAB, "host", "down", host.name)


@pytest.fixture
def host(machine):
    yield machine
    machine.sh(RESTORE)


def test_a_plain_host(host):
    before = host.manifest()
    predicted = host.harden("--check", "--diff")
    assert host.manifest() == before
    done = host.harden()
    assert [one["path"] for one in predicted.result["files"]] == [one["path"] for one in done.result["files"]]
    assert predicted.changed == done.changed <= 1
    assert host.harden().changed == 0
    assert set(host.verify().values()) == {"pass", "na"}
    if done.changed:
        host.undo()
    assert host.manifest() == before


def test_a_host_with_a_history(host):
    host.sh(HISTORY)
    assert {name for name, status in host.verify().items() if status == "fail"} == set(BAD)
    before = host.manifest()
    predicted = host.harden("--check", "--diff", **ALLOWED)
    assert host.manifest() == before
    assert "/srv/odd/new\\nline" in predicted
    done = host.harden("--diff", **ALLOWED)
    assert predicted.result["files"] == done.result["files"]
    assert predicted.result["summary"]["fixed"] == done.result["summary"]["fixed"] == 10
    assert {path: host.mode(path).split(" ")[0] for path in ("/srv/odd/ww", "/srv/odd/allowed/f", "/srv/odd/pipe")} == {
        "/srv/odd/ww": "664", "/srv/odd/allowed/f": "666", "/srv/odd/pipe": "666"}  # fmt: skip
    assert host.mode("/srv/odd/open/and deep") == "1777 root root"
    assert host.mode("/srv/odd/group") == "3777 root root"
    assert host.mode("/etc/shadow") == "640 root shadow"
    assert host.mode("/etc/gshadow") == "400 root shadow"  # a stricter mode stays
    assert host.mode("/etc/shells") == "644 root root"
    again = host.harden(**ALLOWED)
    assert again.changed == 0
    unknown = {one["path"]: one["rights"] for one in again.result["setuid_unknown"]}
    assert unknown == {"/srv/odd/captrue": "cap_setuid", "/srv/odd/sgidtrue": "2755", "/srv/odd/suidbash": "4755",
                       "/usr/bin/find": "4755"}  # fmt: skip
    assert again.result["unowned"] == ["/srv/odd/orphan"]
    assert host.verify(**ALLOWED) == {
        "system_files": "pass", "world_writable": "pass", "sticky_bit": "pass", "unowned": "fail", "setuid": "fail",
        "setuid_removed": "na",
    }  # fmt: skip
    host.undo()
    assert host.manifest() == before


def test_what_is_allowed_is_green(host):
    host.sh(HISTORY)
    allowed = {**ALLOWED, "integrity_setuid_allowed": ["/srv/odd/*", "/usr/bin/find"],
               "integrity_unowned_allowed": ["/srv/odd/orphan"]}  # fmt: skip
    said = host.harden(**allowed)
    assert said.result["setuid_unknown"] == said.result["unowned"] == []
    assert f"[WARNING]: {host.name}" not in said
    assert set(host.verify(**allowed).values()) == {"pass", "na"}


def test_new_programs_are_told_from_those_that_were_there(host):
    host.harden()
    host.sh("sleep 1.1; install -d /srv/odd; cp /bin/bash /srv/odd/door; chmod 4755 /srv/odd/door")
    said = host.harden()
    assert said.changed == 0
    assert said.result["setuid_new"] == ["/srv/odd/door"]
    assert said.result["setuid_unknown"][0]["since"] > said.result["summary"]["setuid_since"]
    assert "/srv/odd/door (4755, of no package, seen since" in " ".join(said.split())
    assert host.sh("stat --format '%a %U' /var/lib/rampart/integrity /var/lib/rampart/integrity/seen.json").split() == [
        "700", "root", "600", "root"]  # fmt: skip


def test_bits_are_taken_and_given_back(host):
    host.sh(HISTORY)
    before = host.manifest()
    host.harden(integrity_setuid_strip=True, integrity_setuid_allowed=["/srv/odd/sgidtrue"], **ALLOWED)
    assert [host.mode(path).split(" ")[0] for path in ("/usr/bin/find", "/srv/odd/suidbash", "/srv/odd/sgidtrue")] == [
        "755", "755", "2755"]  # fmt: skip
    host.sh("echo echo >>/srv/odd/suidbash")
    said = host.play([{"rampart.hardening.undo": {"what": "all"}}], {}, check=False)
    assert "edited since" in said
    host.undo(force=True)
    assert host.mode("/srv/odd/suidbash").startswith("755 ")  # not to another program
    host.sh("cp /bin/bash /srv/odd/suidbash; chmod 4755 /srv/odd/suidbash")
    assert host.manifest() == before


def test_an_upgrade_leaves_taken_bits_taken(host):
    """What dpkg does to a package's files when it is unpacked anew, asked of dpkg."""
    programs = {"integrity_setuid_removed": ["/usr/bin/chfn", "/usr/bin/newgrp", "/usr/bin/mount", "/usr/bin/nosuch"]}
    assert host.verify(**programs)["setuid_removed"] == "fail"
    host.harden(**programs)
    assert host.harden(**programs).changed == 0
    assert host.verify(**programs)["setuid_removed"] == "pass"
    for path in ("/usr/bin/chfn", "/usr/bin/newgrp", "/usr/bin/mount"):
        assert host.mode(path) == "755 root root"
    assert len(host.sh("dpkg-statoverride --list | grep -E '/(chfn|newgrp|mount)$'").splitlines()) == 3
    repack = (
        "apt-get update -qq && cd /tmp && apt-get download -qq passwd mount && dpkg --install ./*.deb && rm ./*.deb"
    )
    host.sh(f"({repack}) 2>&1")
    for path in ("/usr/bin/chfn", "/usr/bin/mount"):
        assert host.mode(path) == "755 root root"
    assert host.mode("/usr/bin/chsh") == "4755 root root"
    host.sh("rm -f /usr/bin/*.dpkg-* /var/lib/dpkg/*-old")
    host.play([{"rampart.hardening.undo": {"what": "all"}}], {})
    assert host.mode("/usr/bin/chfn") == host.mode("/usr/bin/mount") == "4755 root root"
    assert "chfn" not in host.sh("dpkg-statoverride --list")


def test_whoever_swaps_directories_gains_nothing(host):
    """A person turns a directory of theirs into a link to /etc and back while the module works; /etc stays as it is."""
    host.sh("id mallory >/dev/null 2>&1 || useradd --create-home mallory")
    host.harden()
    host.sh("cp -p /etc/shadow /root/shadow.is")
    host.sh(r"""cat >/home/mallory/swap.py <<'EOF'
import os, time
os.umask(0)
os.chdir("/home/mallory")
for number in range(200):
    os.makedirs(f"d{number}", exist_ok=True)
    for name in ("shadow", "gshadow", "passwd"):
        with open(f"d{number}/{name}", "w"):
            os.chmod(f"d{number}/{name}", 0o666)
open("ready", "w").close()
until = time.time() + 25
while time.time() < until:
    for number in range(0, 200, 2):
        os.rename(f"d{number}", f"away{number}")
        os.symlink("/etc", f"d{number}")
    for number in range(0, 200, 2):
        os.unlink(f"d{number}")
        os.rename(f"away{number}", f"d{number}")
EOF
chown mallory /home/mallory/swap.py
setsid su mallory -c 'python3 /home/mallory/swap.py' >/dev/null 2>&1 </dev/null &
while [ ! -e /home/mallory/ready ]; do sleep 0.1; done""")
    before = host.sh("stat --format '%n %a %U %G %Z' /etc /etc/shadow /etc/gshadow /etc/passwd")
    vanished = 0
    for __ in range(3):
        said = host.harden(check=False)
        assert "failed=0" in said, said[-3000:]
        vanished += said.result.get("vanished", 0)
        assert host.sh("stat --format '%n %a %U %G %Z' /etc /etc/shadow /etc/gshadow /etc/passwd") == before
    host.sh("pkill -u mallory; sleep 0.5; cmp /etc/shadow /root/shadow.is")
    host.harden()
    assert host.harden().changed == 0
    print("left alone in mid-change:", vanished)


def test_a_hundred_thousand_offenders(host):
    host.sh(r"""install -d -m 0755 /srv/odd; cd /srv/odd; python3 -c '
import os
os.umask(0)
for number in range(100000):
    if not number % 1000:
        os.mkdir(f"/srv/odd/d{number}", 0o755)
        os.chdir(f"/srv/odd/d{number}")
    os.close(os.open(f"f{number}", os.O_CREAT, 0o666))
'""")
    said = host.harden("--diff", hardening_confirm_timeout=120)
    assert said.result["summary"]["world_writable"] == said.result["summary"]["fixed"] == 100000
    assert len(said) < 2_000_000
    assert len(said.result["world_writable"]) == 100
    assert host.sh("find /srv/odd -type f -perm /2 | wc -l").strip() == "0"
    assert host.harden().changed == 0
    host.undo(confirm_timeout=120)
    assert host.sh("find /srv/odd -type f -perm -2 | wc -l").strip() == "100000"


def test_a_walk_that_takes_too_long_says_so(host):
    host.sh(HISTORY)
    before = host.manifest()
    said = host.harden(check=False, integrity_time_limit=0)
    assert "was not done within 0 s" in " ".join(said.split())
    assert "integrity_skip" in said
    assert host.manifest() == before


def test_places_that_are_not_ours_are_left_out(host):
    host.sh("install -d -m 0777 /var/lib/docker/overlay2/x /srv/odd/other; echo x >/var/lib/docker/overlay2/x/f; "
            "chmod 666 /var/lib/docker/overlay2/x/f")  # fmt: skip
    try:
        said = host.harden(integrity_skip=["/srv/odd"])
        assert said.result["summary"]["fixed"] == 0
        assert host.verify(integrity_skip=["/srv/odd"])["world_writable"] == "pass"
        assert host.verify(integrity_skip=["/srv/odd"])["sticky_bit"] == "pass"
    finally:
        host.sh("rm -rf /var/lib/docker")


def test_without_the_controls_nothing_is_changed(host):
    host.sh(HISTORY)
    before = host.manifest()
    waiver = {"hosts": ["all"], "reason": "a test", "owner": "lab", "until": "2099-01-01"}
    waivers = [{"control": f"integrity.{name}", **waiver} for name in BAD]
    said = host.harden(hardening_waivers=waivers, integrity_setuid_strip=True)
    assert said.changed == 0
    assert host.manifest() == before
