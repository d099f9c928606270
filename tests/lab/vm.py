# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's virtual machines: hosts as lab.py's, with a kernel, a boot loader, a disk and a power switch of their own.

A new one is resumed from the memory of one that had just booted, which saves the boot.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import lab
from lab import NUMBER, STATE, V4, V6, LabError, run, say

# The images of the containers with a kernel: lab.py makes and names them as it does its own
RELEASES = ("bookworm", "trixie")
lab.IMAGES |= {f"vm-{release}": ("vm", release) for release in RELEASES}
DISKS = STATE / "disks"
DISK_BYTES = 6 << 30  # sparse
PARTITION = 1 << 20  # where it begins; the boot loader lies before it
BRIDGE = f"rlab{NUMBER}vm"
SUBNET = 9  # the third part of the machines' addresses
MEMORY = 1024
USB = "-device", "qemu-xhci,id=usb", "-device", "usb-tablet,bus=usb.0"
BOOT_SECONDS = 600  # from power on to the guest agent, at the very most: emulation on a busy machine
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def folder(name):
    return STATE / "hosts" / name


def record(name):
    path = folder(name) / "vm.json"
    if not path.exists():
        raise LabError(f"there is no virtual machine {name}")
    return json.loads(path.read_text(encoding="utf-8"))


def machines():
    return sorted(path.parent.name for path in (STATE / "hosts").glob("*/vm.json"))


def pid_of(where):
    """The process of a running machine, else None."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((where / "pid").read_text(encoding="ascii"))
        if f"{where}/pid".encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return None


# --- the power switch -----------------------------------------------------------------------------------------------


def accelerator():
    """What LAB_ACCEL says, else what was found when the disks were made."""
    found = STATE / "accelerator"
    return os.environ.get("LAB_ACCEL") or (found.read_text(encoding="ascii") if found.exists() else "tcg")


def find_accelerator(kernel):
    """kvm where a stock kernel gets as far as to miss its disk, which ends it; it may hang for ever instead."""
    found = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        argv = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nodefaults", "-no-reboot",
                "-display", "none", "-kernel", str(kernel), "-append", "panic=-1"]  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode:
                found = "kvm"
    (STATE / "accelerator").write_text(found, encoding="ascii")
    say(f"virtual machines run under {found}")


def power_on(where, disk, memory, *more):
    """Start a machine whose sockets, console log and process number are in the folder `where`."""
    accel = ("kvm", "-cpu", "host") if accelerator() == "kvm" else ("tcg,thread=multi", "-cpu", "max,la57=off")
    run("qemu-system-x86_64", "-daemonize", "-pidfile", where / "pid", "-machine", "q35", "-accel", *accel, "-smp", "2",
        "-m", memory, "-nodefaults", "-display", "none", "-vga", "std", "-serial", f"file:{where / 'console'}",
        "-drive", f"file={disk},format={disk.suffix[1:]},if=virtio,cache=writeback,discard=unmap",
        "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
        "-chardev", f"socket,path={where / 'agent'},server=on,wait=off,id=agent",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "-qmp", f"unix:{where / 'monitor'},server=on,wait=off", *more)  # fmt: skip


def network(number, *lan):
    """Its cables: eth0 into `lan`, eth1 the way out."""
    card = "virtio-net-pci,netdev"
    return ("-netdev", ",".join((*lan, "id=lan")), "-device", f"{card}=lan,mac={mac(number)}",
            "-netdev", "user,id=out,ipv6=off", "-device", f"{card}=out")  # fmt: skip


def mac(number):
    return f"02:52:{NUMBER:02x}:{SUBNET:02x}:00:{number:02x}"


def power_off(where):
    """As a power cut does."""
    if pid := pid_of(where):
        os.kill(pid, signal.SIGKILL)
        while pathlib.Path(f"/proc/{pid}").exists() and pid_of(where):
            time.sleep(0.01)


def say_to(connection, command, arguments):
    connection.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")


def answers(connection):
    """What comes back over one of qemu's sockets, but greetings and events."""
    for line in connection.makefile("rb"):
        answer = json.loads(line.lstrip(b"\xff"))
        if "error" in answer:
            raise LabError(f"the machine says: {answer['error']['desc']}")
        if "return" in answer:
            yield answer["return"]
    raise LabError("the machine has gone")


def ask(where, command, seconds=10.0, **arguments):
    """One question to the guest agent, which answers as root whatever the network, sshd or PAM are like."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(min(2.0, seconds))
            connection.connect(str(where / "agent"))
            token = secrets.randbelow(1 << 31)
            say_to(connection, "guest-sync", {"id": token})
            found = answers(connection)
            try:
                while next(found) != token:  # what somebody else asked for and left comes first
                    pass
            except TimeoutError:  # what is said while the agent turns to a new connection is lost
                if time.monotonic() > deadline:
                    raise
                continue
            connection.settimeout(seconds)
            say_to(connection, command, arguments)
            return next(found)


def order(where, command, **arguments):
    """One command to qemu itself."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(where / "monitor"))
        found = answers(connection)
        for one, options in (("qmp_capabilities", {}), (command, arguments)):
            say_to(connection, one, options)
            answer = next(found)
        return answer


def execute(where, argv, stdin=b"", seconds=3600.0):
    """Run a command in the machine: (exit code, output, errors)."""
    deadline = time.monotonic() + seconds
    pid = ask(where, "guest-exec", **{
        "path": argv[0], "arg": list(argv[1:]), "capture-output": True, "env": [f"PATH={PATH}", "HOME=/root"],
        "input-data": base64.b64encode(stdin).decode()})["pid"]  # fmt: skip
    pause = 0.02
    while not (found := ask(where, "guest-exec-status", pid=pid, seconds=60))["exited"]:
        if time.monotonic() > deadline:
            raise LabError(f"{argv}: not done after {seconds:.0f} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
    code = found.get("exitcode", 128 + found.get("signal", 0))
    return code, *(base64.b64decode(found.get(word, "")) for word in ("out-data", "err-data"))


def shell(where, command, stdin=b""):
    """The same for a line of shell that has to work; returns what it printed."""
    code, said, errors = execute(where, ["/bin/sh", "-c", command], stdin)
    if code:
        raise LabError(f"{command}: {errors.decode(errors='replace').strip()}")
    return said.decode(errors="replace").strip()


def leave(where, how):
    """Begin a clean reboot or poweroff, and do not wait for an answer that may not come any more."""
    ask(where, "guest-exec", path="/usr/bin/systemctl", arg=["--no-block", how])


def wait_for_boot(where, before=None):
    """Wait for the guest agent of a boot other than `before`; returns the boot's id."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        with contextlib.suppress(OSError, LabError, ValueError):
            ask(where, "guest-ping", seconds=2)
            boot = shell(where, "cat /proc/sys/kernel/random/boot_id")
            if boot != before:
                return boot
        if not pid_of(where) or time.monotonic() > deadline:
            console = (where / "console").read_text(errors="replace")[-2000:]
            raise LabError(f"{where.name}: not booted within {BOOT_SECONDS} s; the console's end:\n{console}")
        time.sleep(0.2)


# --- disks ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(release):
    image = lab.image_of(f"vm-{release}")
    try:
        yield pathlib.Path(lab.podman("image", "mount", image))
    finally:
        lab.podman("image", "unmount", image)


def disk_of(release):
    return DISKS / f"{release}-{lab.recipe_hash(f'vm-{release}')}.raw"


def resumable(release):
    """The disk of a machine that had just booted; its memory lies beside it, for the same qemu to resume."""
    version = run("qemu-system-x86_64", "--version").split("version ")[1].split()[0]
    return DISKS / f"{disk_of(release).stem}-{accelerator()}-{version}.qcow2"


def ensure_disks(releases):
    lab.ensure_images([f"vm-{release}" for release in releases])
    with lab.locked("disks"):
        for release in releases:
            if not disk_of(release).exists():
                make_disk(release)
            if not resumable(release).exists():
                make_resumable(release)


def overlay(disk, on):
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", on, "-F", on.suffix[1:], disk)


def make_disk(release):
    """One partition with the image's files; the boot loader is put on by the machine itself, as an installer does."""
    started = time.monotonic()
    say(f"disk {release}: building")
    where = DISKS / release
    where.mkdir(parents=True, exist_ok=True)
    disk = where / "disk.raw"
    disk.unlink(missing_ok=True)
    # A partition table of one entry: active, Linux
    entry = struct.pack("<B3xB3xII", 0x80, 0x83, PARTITION // 512, (DISK_BYTES - PARTITION) // 512)
    with open(disk, "wb") as file:
        file.truncate(DISK_BYTES)
        file.write((b"\0" * 446 + entry).ljust(510, b"\0") + b"\x55\xaa")
    with mounted(release) as root:
        # Without the features that the boot loader of Debian 12 cannot read, whatever this machine's defaults are
        run("mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file", "-d", root,
            "-E", f"offset={PARTITION},assume_storage_prezeroed=1", disk, f"{(DISK_BYTES - PARTITION) >> 10}k")
        find_accelerator(root / "boot/lab-kernel")
        try:
            power_on(where, disk, MEMORY, "-kernel", root / "boot/lab-kernel", "-initrd", root / "boot/lab-initrd",
                     "-append", "root=/dev/vda1 net.ifnames=0 console=ttyS0 quiet")  # fmt: skip
            wait_for_boot(where)
            shell(where, "rm /boot/lab-*; grub-install /dev/vda && update-grub && : >/etc/machine-id && sync")
            leave(where, "poweroff")
            deadline = time.monotonic() + 60
            while pid_of(where):
                if time.monotonic() > deadline:
                    raise LabError(f"disk {release}: the machine does not power off")
                time.sleep(0.1)
        finally:
            power_off(where)
    disk.rename(disk_of(release))
    shutil.rmtree(where)
    say(f"disk {release}: built in {time.monotonic() - started:.0f} s")


def make_resumable(release):
    started = time.monotonic()
    where = DISKS / release
    where.mkdir(parents=True, exist_ok=True)
    disk = where / "disk.qcow2"
    overlay(disk, disk_of(release))
    try:
        power_on(where, disk, MEMORY, *network(1, "user", "restrict=on"))
        wait_for_boot(where)
        execute(where, ["/usr/bin/systemctl", "is-system-running", "--wait"])
        shell(where, "sync")
        order(where, "stop")
        order(where, "migrate", uri=f"exec:cat >{where / 'memory'}")
        deadline = time.monotonic() + 60
        while order(where, "query-migrate")["status"] != "completed":
            if time.monotonic() > deadline:
                raise LabError(f"{release}: the memory is not saved after 60 s")
            time.sleep(0.1)
    finally:
        power_off(where)
    (where / "memory").rename(resumable(release).with_suffix(".memory"))
    disk.rename(resumable(release))
    shutil.rmtree(where)
    say(f"disk {release}: resumable in {time.monotonic() - started:.0f} s")


# --- machines -------------------------------------------------------------------------------------------------------


def addresses(number):
    return [f"{V4}.{SUBNET}.{number}", f"{V6}:{SUBNET}::{number}"]


def plug(number):
    """The machine's cable into the lab's switch, on which this machine is the controller."""
    with lab.locked("network"):
        if not pathlib.Path(f"/sys/class/net/{BRIDGE}").exists():
            lab.ip_batch([f"link add {BRIDGE} type bridge", *lab.address_lines(*addresses(1), BRIDGE)])
        cable = f"{BRIDGE}{number}"
        run("ip", "link", "delete", cable, check=False)
        lab.ip_batch([f"tuntap add dev {cable} mode tap", f"link set {cable} master {BRIDGE} up"])
    return cable


def start(name, *more):
    """Switch it on and wait until it has booted; returns the boot's id."""
    known, where = record(name), folder(name)
    if pid_of(where):
        raise LabError(f"{name} is running")
    lan = ("tap", f"ifname={plug(known['number'])}", "script=no", "downscript=no")
    usb = USB if known["usb"] else ()
    power_on(where, where / "disk.qcow2", known["memory"], *network(known["number"], *lan), *usb, *more)
    if more:
        order(where, "cont")  # it was saved while it stood still
    return wait_for_boot(where)


def up(options):
    name, where, began = options.name, folder(options.name), time.monotonic()
    if where.exists() or name in lab.FLEET:
        raise LabError(f"{name} is there already; take it away with: vm.py down {name}")
    ensure_disks([options.image])
    keys = lab.people_keys()
    with lab.locked("machines"):
        taken = {record(other)["number"] for other in machines()}
        number = next(number for number in range(10, 250) if number not in taken)
        where.mkdir(parents=True)
        lab.write_json(where / "vm.json", {"number": number, "memory": options.memory, "image": options.image,
                                           "usb": options.usb})  # fmt: skip
    if options.memory == MEMORY and not options.usb:
        booted = resumable(options.image)
        overlay(where / "disk.qcow2", booted)
        start(name, "-incoming", f"exec:cat {booted.with_suffix('.memory')}")
    else:
        overlay(where / "disk.qcow2", disk_of(options.image))
        start(name)
    found = addresses(number)
    lan = f"[Match]\nName=eth0\n[Link]\nMACAddress={mac(number)}\n[Network]\n"
    lan += "".join(f"Address={address}/{bits}\n" for address, bits in zip(found, (24, 64), strict=True))
    files = lab.host_files(where, keys) | {
        "/etc/hostname": (f"{name}\n".encode(), 0, 0o644),
        "/etc/hosts": (f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost\n".encode(), 0, 0o644),
        "/etc/resolv.conf": (b"nameserver 10.0.2.3\n", 0, 0o644),
        "/etc/systemd/network/lan.network": (lan.encode(), 0, 0o644),
    }
    # sshd has no keys until now: systemd tries it again and again, until it will not even when asked
    shell(where, "systemctl stop ssh; tar --extract --directory / && hostname -F /etc/hostname", lab.tarball(files))
    shell(where, "systemctl reset-failed ssh; systemctl restart systemd-networkd ssh")
    shell(where, f"date --set @{time.time():.0f}")
    lab.write_host(name, where, keys, found, addresses(1))
    lab.wait_for_ssh(name, found[0])
    say(f"{name}: {' '.join(found)} after {time.monotonic() - began:.0f} s, inventory {where / 'inventory.yml'}")
    print(found[0])


def down(options):
    for name in machines() if options.all else options.names:
        where = folder(name)
        number = record(name)["number"]
        power_off(where)
        run("ip", "link", "delete", f"{BRIDGE}{number}", check=False)
        shutil.rmtree(where)
    if not machines():
        run("ip", "link", "delete", BRIDGE, check=False)
    if options.all:
        shutil.rmtree(DISKS, ignore_errors=True)


def restart(options):
    """A clean reboot."""
    where = folder(options.name)
    before = shell(where, "cat /proc/sys/kernel/random/boot_id")
    leave(where, "reboot")
    wait_for_boot(where, before)
    wait_for_ssh(options.name)


def wait_for_ssh(name):
    lab.wait_for_ssh(name, addresses(record(name)["number"])[0])


def switch_on(options):
    start(options.name)
    wait_for_ssh(options.name)


def inside(options):
    where = folder(options.name)
    stdin = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    code, said, errors = execute(where, ["/usr/bin/env", *options.command], stdin)
    sys.stdout.buffer.write(said)
    sys.stderr.buffer.write(errors)
    sys.exit(code)


def parse(argv):
    parser = argparse.ArgumentParser(prog="vm.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(word, text, function):
        found = commands.add_parser(word, help=text, description=text)
        found.set_defaults(function=function)
        return found

    found = command("build", "make the disks, where their recipe changed",
                    lambda options: ensure_disks(options.releases or RELEASES))  # fmt: skip
    found.add_argument("releases", nargs="*", choices=[[], *RELEASES], metavar="RELEASE")
    found = command("up", "start a new machine in its bad state and print its address", up)
    found.add_argument("name")
    found.add_argument("--image", default="bookworm", choices=RELEASES)
    found.add_argument("--memory", type=int, default=MEMORY, metavar="MB")
    found.add_argument("--usb", action="store_true", help="with a USB bus and a tablet, as most hypervisors give it")
    found = command("down", "take machines away", down)
    found.add_argument("names", nargs="*", metavar="name")
    found.add_argument("--all", action="store_true", help="every machine of this checkout, and the disks")
    command("restart", "reboot a machine", restart).add_argument("name")
    command("kill", "cut its power", lambda options: power_off(folder(options.name))).add_argument("name")
    command("start", "switch it on again", switch_on).add_argument("name")
    found = command("exec", "run a command in a machine as root, past its network", inside)
    found.add_argument("name")
    found.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    try:
        lab.use_containers_conf()
        options.function(options)
    except (LabError, OSError) as error:
        sys.exit(f"vm: {error}")


if __name__ == "__main__":
    main()
