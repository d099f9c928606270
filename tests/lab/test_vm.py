# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On machines with a kernel, a boot loader and a disk of their own: reboots, a full disk, Docker, and the way back.

The tests run in order and each goes on where the one before it ended. One machine at a time, as emulation takes both
cores.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time

import pytest
from faults import difference, until
from machine import Machine, boot_hash, vm
from vm import addresses, order

PASSWORD = "sesame"  # of the boot loader


def packages(machine):
    return set(machine.sh("dpkg-query --show --showformat '${Package}\\n'").split())


@pytest.fixture(scope="module")
def machine():
    """Debian 12, bad as all the lab's hosts, and what it was like."""
    found = Machine("vm12", "bookworm", hardening_level=2, kernel_lockdown="integrity", kernel_tmpfs_size="50%",
                    kernel_boot_parameters=["slab_nomerge", "init_on_alloc=1"],
                    kernel_boot_password=boot_hash(PASSWORD))  # fmt: skip
    found.packages, found.before = packages(found), found.manifest()
    yield found
    vm("down", found.name, check=False)  # its last test has done so, to make room


def test_a_hardened_machine_boots_hardened(machine):
    assert not machine.reachable()
    machine.book("site")
    vm("restart", machine.name)
    assert machine.reachable()
    machine.verify()
    machine.unchanged()


class Menu:
    """The boot loader's menu, with somebody at the keyboard who sees what it writes to the serial line too."""

    DROP_IN = "/etc/default/grub.d/zz-test.cfg"

    def __init__(self, machine):
        self.machine, self.seen = machine, 0
        settings = 'GRUB_TERMINAL="console serial"\nGRUB_TIMEOUT=300\n'
        machine.sh(f"printf '{settings}' >{self.DROP_IN} && update-grub 2>&1 && sync", timeout=600)
        self.skip()
        order(machine.folder, "system_reset")
        self.says("GNU GRUB")

    def text(self):
        return (self.machine.folder / "console").read_bytes()

    def skip(self):
        self.seen = len(self.text())

    def says(self, words):
        until(f"the menu says {words}", lambda: words.encode() in self.text()[self.seen :], 120, 0.2)
        self.skip()

    def press(self, *keys):
        for key in keys:
            order(self.machine.folder, "send-key", keys=[{"type": "qcode", "data": key}])
            time.sleep(0.2)

    def log_in(self, user, password):
        """Ask to edit the first entry, and give a name and a password."""
        self.press("e")
        self.says("Enter username")
        self.press(*user, "ret")
        self.says("Enter password")
        self.press(*password, "ret")


def test_the_boot_menu_wants_a_password_from_who_changes_and_from_nobody_else(machine):
    menu = Menu(machine)
    menu.log_in("bootadmin", PASSWORD[::-1])
    menu.says("GNU GRUB")  # the menu again
    menu.log_in("bootadmin", PASSWORD)
    menu.says("setparams")
    menu.press("esc")
    menu.says("GNU GRUB")
    menu.press("ret")
    until("it starts", machine.reachable, 300, 5)
    machine.sh(f"rm {menu.DROP_IN} && update-grub 2>&1", timeout=600)


def test_packages_that_ask_are_installed_though_nothing_runs_from_tmp(machine):
    """apt's debconf makes programs of the questions, in /tmp unless it is told better."""
    said = machine.sh("cp /bin/true /tmp/program && chmod 755 /tmp/program && /tmp/program; echo $?; rm /tmp/program")
    assert said.split()[-1] == "126"
    install = "apt-get -q update && apt-get -qy install --no-install-recommends popularity-contest 2>&1"
    said = machine.sh(install, timeout=600)
    machine.sh("apt-get -qy purge popularity-contest", timeout=600)
    assert "Setting up popularity-contest" in said and "Permission denied" not in said, said


def test_a_full_disk_stops_nothing(machine):
    """Logins go on, and so does the audit trail once there is room again."""

    def recorded(word):
        machine.sh(f": >/etc/sudoers.d/{word} && rm /etc/sudoers.d/{word}", check=False)
        return machine.sh(f"grep -c {word} /var/log/audit/audit.log", check=False).strip() not in ("", "0")

    until("the audit trail is written", lambda: recorded("room"), 60, 1)
    machine.sh("cat /dev/zero >/var/full 2>/dev/null; cat /dev/zero >>/var/full 2>/dev/null; sync", check=False)
    try:
        assert machine.sh("df --output=avail / | tail -n 1").strip() == "0"
        for number in range(20):
            recorded(f"full-{number}")
        assert machine.reachable()
    finally:
        machine.sh("rm -f /var/full")
    assert machine.sh("systemctl is-active auditd", check=False).strip() == "active"
    until("the audit trail goes on", lambda: recorded("again"), 60, 1)
    assert machine.reachable()


def test_what_was_taken_back_stays_away(machine):
    """Packages that roles installed stay, and leave nothing when they are taken away."""
    machine.book("undo", "-e", "undo=all")
    vm("restart", machine.name)
    machine.sh(f"apt-get -qy purge {' '.join(packages(machine) - machine.packages)}", timeout=900)
    left = difference(machine.before, machine.manifest())
    left.pop("/etc/apparmor.d/disable", None)  # empty; packages with a profile take it away
    for name in ("passwd", "group", "shadow", "gshadow"):  # taking away the packages' accounts writes new ones
        left.pop(f"/etc/{name}-", None)
    assert not left, "\n".join(f"{path}: {how}" for path, how in sorted(left.items()))
    assert not machine.reachable()
    vm("down", machine.name)


class Ports:
    """The machine's USB ports, and somebody who plugs things in."""

    def __init__(self, machine):
        self.machine = machine

    def plug(self, driver):
        order(self.machine.folder, "device_add", driver=driver, id=driver, bus="usb.0")
        self.machine.sh("udevadm settle; sleep 3")

    def pull(self, driver):
        order(self.machine.folder, "device_del", id=driver)
        self.machine.sh("udevadm settle; sleep 1")

    def network(self):
        """Whether the machine has a network card on the bus."""
        return bool(self.machine.sh("ls -d /sys/bus/usb/devices/*/net/*", check=False))

    def tablet(self):
        return "usbhid" in self.machine.sh("readlink /sys/bus/usb/devices/*:*/driver")


@pytest.fixture
def ports():
    found = Machine("usb12", "bookworm", "--usb", hardening_level=2)
    found.take_usual_kernel()
    yield Ports(found)
    vm("down", found.name)


def test_a_usb_device_that_nobody_allowed_is_not_used(ports):
    machine = ports.machine
    ports.plug("usb-net")
    assert ports.tablet() and ports.network()
    ports.pull("usb-net")
    assert machine.verdict("kernel.usb")[0] == "fail"
    machine.book("site", "--tags", "kernel")
    assert ports.tablet() and machine.verdict("kernel.usb")[0] == "pass"
    ports.plug("usb-net")
    assert not ports.network()
    ports.plug("usb-kbd")
    assert "QEMU USB Keyboard" in machine.sh("cat /proc/bus/input/devices")
    vm("restart", machine.name)  # with both plugged in
    assert machine.reachable() and ports.tablet() and not ports.network()
    assert machine.verdict("kernel.usb")[0] == "pass"
    machine.unchanged("--tags", "kernel")
    machine.sh("usbguard allow-device --permanent $(usbguard list-devices --blocked | cut -d: -f1); sleep 3")
    assert ports.network()
    machine.unchanged("--tags", "kernel")
    machine.book("undo", "-e", "undo=all", "-e", "undo_force=true")  # the rules were edited since
    ports.pull("usb-net")
    ports.plug("usb-net")
    assert ports.network()
    said = machine.book("site", "--tags", "kernel", check=False)  # what is in use and was not there at first
    assert "would be cut off" in said and "(allow id 0525:a4a2)" in said and ports.network()
    machine.book("site", "--tags", "kernel", kernel_usb_allowed=["allow id 0525:a4a2"])
    assert ports.network() and machine.verdict("kernel.usb")[0] == "pass"


WEB = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
client=$(apt-cache pkgnames docker-cli | grep -x docker-cli || true)  # a package of its own from Debian 13 on
apt-get -qy --no-install-recommends install docker.io busybox-static $client
tar --create --directory /bin busybox | docker import - web
docker run --detach --restart always --name web --publish 8081:80 web /busybox httpd -f -p 80
"""


@pytest.fixture
def dockers():
    """Debian 13 with a container that publishes a port."""
    listens = [{"program": "leftover", "reason": "the lab's own"}, {"port": 8081, "reason": "published by a container"}]
    found = Machine("vm13", "trixie", hardening_services=listens)
    found.sh(WEB, timeout=600)
    yield found
    vm("down", found.name)


@pytest.fixture
def outside():
    """A web server on the controller, for the container to reach: its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"outside")

    with http.server.ThreadingHTTPServer((addresses(1)[0], 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{server.server_address[0]}:{server.server_port}/"
        server.shutdown()


def test_docker_goes_on(dockers, outside):
    """A published port and the way out, after hardening, after Docker's restart and after the machine's."""

    def published():
        with contextlib.suppress(OSError), socket.create_connection((dockers.address, 8081), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
        return False

    def works(when):
        until(f"the published port answers {when}", published, 90, 1)
        said = dockers.sh(f"docker exec web /busybox wget -q -T 20 -O - {outside}", check=False)
        assert said == "outside", f"the container does not get out {when}: {said}"

    works("before")
    said = dockers.book("site")
    assert "port 8081 is published by others" in said
    works("after site")
    dockers.sh("systemctl restart docker")
    works("after Docker's restart")
    vm("restart", dockers.name)
    works("after a reboot")
    dockers.verify()
    dockers.unchanged()
    works("after another run")
