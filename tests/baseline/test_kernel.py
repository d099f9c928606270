# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel as it runs: its parameters, what it loads, what it mounts, and what a program that crashes leaves."""

from __future__ import annotations

import json
import re

import pytest

CONTAINERS = (
    *("/etc/docker", "/run/docker.sock", "/usr/bin/dockerd", "/run/containerd/containerd.sock", "/usr/bin/podman"),
    *("/var/lib/kubelet", "/etc/kubernetes", "/etc/rancher", "/sys/class/net/lxcbr0", "/sys/class/net/incusbr0"),
    *("/run/libvirt/libvirt-sock", "/sys/class/net/virbr0", "/etc/pve"),
)
SANDBOXES = ("/usr/bin/bwrap", "/usr/bin/flatpak", "/usr/bin/firejail", "/usr/bin/chromium", "/usr/bin/apptainer")
FORWARDING = "ip_forward *= *1|forwarding *= *1|IP(v[46])?Forward(ing)? *= *(yes|true|1|ipv[46])"
BALANCERS = ("/etc/keepalived", "/etc/ha.d", "/usr/sbin/ipvsadm", "/usr/sbin/ldirectord", "/usr/sbin/pppd")
IMAGES = (
    *("/usr/bin/snap", "/var/lib/snapd", "/run/live", "/run/casper", "/etc/overlayroot.conf", "/etc/schroot"),
    *("/ostree", "/usr/bin/buildah", "/usr/bin/nerdctl", "/etc/extensions", "/var/lib/extensions/*"),
)
ROOTS = (  # other systems below /var
    *("/var/lib/lxc/*/rootfs", "/var/lib/machines/*", "/var/lib/incus", "/var/lib/lxd", "/var/lib/docker/vfs"),
    *("/var/lib/schroot/chroots/*", "/var/cache/pbuilder/*", "/var/*/dev/null", "/var/*/*/dev/null"),
    "/var/*/*/*/dev/null",
)
WRITABLE = "/tmp", "/var/tmp", "/dev/shm"  # noqa: S108 -- the mount points themselves
# A file system or protocol each, that any user may have the kernel load or that comes with a device
UNWANTED = (
    *("cramfs", "freevxfs", "hfs", "hfsplus", "jffs2", "udf", "dccp", "rds", "sctp", "tipc", "can", "atm", "ax25"),
    *("n_hdlc", "usb-storage", "bluetooth", "firewire-core", "appletalk", "x25", "netrom", "rose", "vivid", "floppy"),
    "cfg80211",
)
CRASH = r"""
rm -rf /run/rampart-crash; mkdir -m 0777 /run/rampart-crash || exit 9
cd /run/rampart-crash && sh -c 'ulimit -c unlimited 2>/dev/null; kill -SEGV $$'
systemd-run --quiet --wait --collect --property=WorkingDirectory=/run/rampart-crash --property=LimitCORE=infinity \
    sh -c 'kill -SEGV $$' 2>/dev/null
sleep 1; ls -A /run/rampart-crash; ls /var/lib/systemd/coredump 2>/dev/null | grep "^core.sh" | head -n 3
rm -rf /run/rampart-crash
"""


@pytest.fixture(scope="module")
def kernel(host, not_applicable):
    """The host, where its kernel is its own."""
    if host.run("systemd-detect-virt --container --quiet").rc == 0:
        not_applicable("a container: the kernel is its host's")
    return host


@pytest.fixture
def value(kernel, policy):
    """value(NAME): the parameter in force, None where this kernel has none; * makes it a dict by interface."""
    chosen = {name.replace("/", "."): wish for name, wish in (policy.get("kernel_sysctl") or {}).items()}

    def read(name):
        if "*" not in name:
            found = kernel.run(f"cat /proc/sys/{name.replace('.', '/')}")
            return found.stdout.strip() if found.rc == 0 else None
        head, tail = name.split(".*.")
        directory = f"/proc/sys/{head.replace('.', '/')}"
        shown = kernel.run(f"cd {directory} && grep -H . */{tail}").stdout
        present = set(kernel.check_output("ls -d /sys/class/net/*/device | cut -d/ -f5").split()) | {"all", "default"}
        lines = [line.partition(f"/{tail}:") for line in shown.splitlines()]
        return {line[0]: line[2] for line in lines if line[0] in present}

    def check(evidence, **wanted):
        """Compare the parameters with a set of good values each; what the policy changes counts as said there."""
        seen, wrong = {}, []
        for name, good in wanted.items():
            found = read(name)
            if found is None or found == {}:
                continue
            seen[name] = found
            if name in chosen:
                good = None if chosen[name] is None else {str(chosen[name])}
            values = found.values() if isinstance(found, dict) else [found]
            if good is not None and not set(values) <= set(good):
                wrong.append(f"{name} is {found}")
        evidence(seen)
        assert not wrong, "; ".join(wrong)

    check.read = read
    return check


def present(host, paths):
    """Those of the paths that exist."""
    return host.run(f"ls -d {' '.join(paths)} 2>/dev/null").stdout.split()


@pytest.fixture(scope="module")
def forwards(kernel):
    """Why this host forwards for others; empty where it has no reason to."""
    found = present(kernel, CONTAINERS) + kernel.run("ls /etc/wireguard/*.conf 2>/dev/null").stdout.split()
    places = "/etc/sysctl.conf /etc/sysctl.d /etc/systemd/network /etc/systemd/networkd.conf"
    found += kernel.run(f"grep -rliE '^[^#;]*({FORWARDING})' {places} 2>/dev/null").stdout.split()
    rules = kernel.run("nft list ruleset 2>/dev/null | grep -E 'masquerade|snat|dnat|MASQUERADE|SNAT|DNAT' | head -n 1")
    bridges = kernel.run("ls -d /sys/class/net/*/brif/* 2>/dev/null | head -n 1").stdout.split()
    return found + (["address translation"] if rules.stdout.strip() else []) + bridges


@pytest.mark.control("kernel.network")
def test_network(value, kernel, forwards, evidence):
    uneven = forwards or len(kernel.check_output("ip -4 rule show").splitlines()) > 3
    uneven = uneven or len(kernel.check_output("ip -4 route show default").splitlines()) > 1
    wanted = {
        "net.ipv4.conf.*.accept_redirects": "0", "net.ipv4.conf.*.accept_source_route": "0",
        "net.ipv4.conf.*.rp_filter": "12" if uneven else "1", "net.ipv4.conf.*.log_martians": "1",
        "net.ipv4.icmp_echo_ignore_broadcasts": "1", "net.ipv4.icmp_ignore_bogus_error_responses": "1",
        "net.ipv4.tcp_syncookies": "12", "net.ipv4.tcp_rfc1337": "1",
        "net.ipv6.conf.*.accept_redirects": "0", "net.ipv6.conf.*.accept_source_route": ("0", "-1"),
    }  # fmt: skip
    if not forwards:
        names = ("send_redirects", "secure_redirects", "shared_media", "accept_local", "route_localnet", "proxy_arp",
                 "bootp_relay")  # fmt: skip
        wanted |= {f"net.ipv4.conf.*.{name}": "0" for name in names if not present(kernel, BALANCERS)}
    value(evidence, **wanted)


@pytest.mark.control("kernel.router_advertisements")
def test_router_advertisements(value, kernel, evidence, not_applicable):
    if " proto ra " in kernel.run("ip -6 route show default").stdout:
        not_applicable("the default route comes by router advertisement")
    names = ("accept_ra", "autoconf", "router_solicitations", "accept_ra_defrtr", "accept_ra_pinfo",
             "accept_ra_rtr_pref")  # fmt: skip
    value(evidence, **{f"net.ipv6.conf.*.{name}": "0" for name in names}, **{"net.ipv6.conf.*.max_addresses": "1"})


@pytest.mark.control("kernel.forwarding")
def test_forwarding(value, forwards, policy, evidence, not_applicable):
    mode = policy.get("kernel_forwarding", "auto")
    if mode == "keep" or (mode == "auto" and forwards):
        not_applicable(f"this host forwards: {', '.join(forwards) or 'kernel_forwarding is keep'}")
    value(evidence, **{"net.ipv4.ip_forward": "0", "net.ipv6.conf.*.forwarding": "0"})


@pytest.mark.control("kernel.memory")
def test_memory(value, kernel, evidence):
    value(evidence, **{
        "kernel.randomize_va_space": "2", "kernel.kptr_restrict": "2", "kernel.dmesg_restrict": "1",
        "kernel.perf_event_paranoid": "34", "vm.mmap_min_addr": ("65536", "131072"), "dev.tty.ldisc_autoload": "0",
        "vm.unprivileged_userfaultfd": "0"})  # fmt: skip
    for what in ("dmesg", "grep -m 1 -v '^0* ' /proc/kallsyms"):
        tried = kernel.run(f"setpriv --reuid 65534 --regid 65534 --clear-groups {what}")
        assert tried.rc != 0, f"nobody may: {what}"


@pytest.mark.control("kernel.files")
def test_files(value, evidence):
    value(evidence, **{"fs.protected_symlinks": "1", "fs.protected_hardlinks": "1", "fs.protected_fifos": "2",
                       "fs.protected_regular": "2"})  # fmt: skip


@pytest.mark.control("kernel.ptrace")
def test_ptrace(value, kernel, evidence):
    if value.read("kernel.yama.ptrace_scope") is None:
        pytest.fail("this kernel has no Yama")
    value(evidence, **{"kernel.yama.ptrace_scope": "123"})


@pytest.mark.control("kernel.bpf")
def test_bpf(value, evidence):
    value(evidence, **{"kernel.unprivileged_bpf_disabled": "12", "net.core.bpf_jit_harden": "2"})


@pytest.mark.control("kernel.kexec")
def test_kexec(value, kernel, evidence, not_applicable):
    if kept := present(kernel, ("/etc/default/kdump-tools", "/etc/kdump.conf")):
        not_applicable(f"crash dumps need it: {kept[0]}")
    value(evidence, **{"kernel.kexec_load_disabled": "1"})


@pytest.mark.control("kernel.perf")
def test_perf(value, evidence):
    value(evidence, **{"kernel.perf_cpu_time_max_percent": "1", "kernel.perf_event_max_sample_rate": "1"})


@pytest.mark.control("kernel.sysrq")
def test_sysrq(value, evidence):
    value(evidence, **{"kernel.sysrq": "0"})


@pytest.mark.control("kernel.user_namespaces")
def test_user_namespaces(kernel, policy, evidence, not_applicable):
    if kept := present(kernel, (*CONTAINERS, *SANDBOXES)):
        not_applicable(f"needed by {', '.join(kept)}")
    tried = kernel.run("setpriv --reuid 65534 --regid 65534 --clear-groups unshare --user id -u")
    evidence(tried.stdout + tried.stderr)
    assert tried.rc != 0, "nobody made a user namespace"


@pytest.mark.control("kernel.modules")
def test_modules(kernel, policy, evidence):
    mine = {name.replace("_", "-") for name in policy.get("kernel_modules_allowed") or []}
    used = {line.split()[0].replace("_", "-") for line in kernel.check_output("cat /proc/modules").splitlines()
            if line.split()[2] != "0"}  # fmt: skip
    busy = set(kernel.run("cat /proc/mounts /etc/fstab | awk '{print $3}'").stdout.split())
    azure = {"udf"} if present(kernel, ("/var/lib/waagent",)) else set()
    names = [name for name in (*UNWANTED, *policy.get("kernel_modules_denied", {})) if name not in mine | azure]
    tried = kernel.run(
        f"for one in {' '.join(names)}; do printf '%s\\t' $one; modprobe -n -v $one 2>&1 | tail -n 1 | tr '\\n' ' '; "
        "echo; done"
    )
    lines = [line.partition("\t")[::2] for line in tried.stdout.splitlines()]
    evidence({"in use": sorted(used & set(names)), "tried": dict(lines)})
    loadable = [name for name, said in lines if said.startswith("insmod ") and name not in used | busy]
    loaded = [name for name in names if name in used | set(kernel.run("lsmod | awk '{print $1}'").stdout.split())
              and name not in used]  # fmt: skip
    assert not loadable, f"would be loaded: {', '.join(loadable)}"
    assert not loaded, f"loaded: {', '.join(loaded)}"


@pytest.mark.control("kernel.image_modules")
def test_image_modules(kernel, policy, evidence, not_applicable):
    if kept := present(kernel, (*CONTAINERS, *SANDBOXES, *IMAGES)):
        not_applicable(f"needed by {', '.join(kept)}")
    busy = kernel.run("awk '{print $3}' /proc/mounts /etc/fstab; awk '$3 > 0 {print $1}' /proc/modules").stdout.split()
    names = {"overlay", "squashfs"} - set(policy.get("kernel_modules_allowed") or []) - set(busy)
    tried = {name: kernel.run(f"modprobe -n -v {name} 2>&1 | tail -n 1").stdout.strip() for name in sorted(names)}
    evidence({"in use": sorted({"overlay", "squashfs"} - names), "tried": tried})
    loadable = [name for name, said in tried.items() if said.startswith("insmod ")]
    assert not loadable, f"would be loaded: {', '.join(loadable)}"


@pytest.mark.control("kernel.usb")
def test_usb(kernel, evidence, not_applicable):
    defaults = kernel.run("grep -H . /sys/bus/usb/devices/usb*/authorized_default").stdout.split()
    if not defaults:
        not_applicable("this kernel has no USB bus")
    new = {line.split("/")[5]: line.rpartition(":")[2] for line in defaults}
    devices, rules = (kernel.run(f"usbguard list-{what}") for what in ("devices", "rules"))
    evidence({"devices": devices.stdout.splitlines(), "rules": rules.stdout.splitlines(), "new devices": new})
    assert devices.rc == rules.rc == 0, f"USBGuard does not answer: {devices.stderr.strip()}"
    allowing = sorted(bus for bus, value in new.items() if value != "0")
    assert not allowing, f"the kernel uses what is plugged into {', '.join(allowing)} without asking"
    for name, good in (("ImplicitPolicyTarget", "block reject"), ("InsertedDevicePolicy", "apply-policy block reject")):
        value = kernel.run(f"usbguard get-parameter {name}").stdout.strip()
        assert value in good.split(), f"{name} is {value}"
    unnamed = re.findall(r"(?m)^\d+: (allow(?: id \*:\*)?)$", rules.stdout)
    assert not unnamed, f"a rule allows whatever comes: {unnamed[0]}"
    asked = kernel.run("setpriv --reuid 65534 --regid plugdev --clear-groups usbguard list-devices")
    assert asked.rc != 0, "others than root decide (IPCAllowedGroups, IPCAccessControl.d)"
    assert kernel.service("usbguard").is_enabled, "usbguard.service does not start with the host"


@pytest.mark.control("kernel.core_dumps")
def test_core_dumps(host, evidence):
    left = host.run(CRASH).stdout
    soft = host.run("su -s /bin/sh nobody -c 'ulimit -H -c'").stdout.strip()
    pattern = host.run("cat /proc/sys/kernel/core_pattern").stdout.strip()
    named = host.run("cat /proc/sys/kernel/core_uses_pid").stdout.strip()
    evidence({"left by crashes": left, "hard limit of a login": soft, "core_pattern": pattern})
    assert soft == "0", f"a login may leave core dumps (limit {soft})"
    container = host.run("systemd-detect-virt --container --quiet").rc == 0
    assert not left.strip() or container, f"left: {left}"
    assert named == "1" or container, "a core dump overwrites the one before (kernel.core_uses_pid)"


@pytest.mark.control("kernel.mounts")
def test_mounts(kernel, policy, evidence, not_applicable):
    wanted = policy.get("kernel_mount_options") or {
        **dict.fromkeys(WRITABLE, ["nosuid", "nodev", "noexec"]),
        **dict.fromkeys(("/home", "/var"), ["nosuid", "nodev"]),
        **dict.fromkeys(("/var/log", "/var/log/audit"), ["nosuid", "nodev", "noexec"]),
    }
    if present(kernel, ROOTS):
        wanted = {path: options for path, options in wanted.items() if path != "/var"}
    listed = json.loads(kernel.check_output("findmnt --json --list -o TARGET,OPTIONS"))["filesystems"]
    options = {one["target"]: one["options"].split(",") for one in listed if one["target"] in wanted}
    evidence(options)
    if not options:
        not_applicable("none of them is a mount of its own")
    wrong = [f"{path} lacks {one}" for path in options for one in wanted[path] if one not in options[path]]
    assert not wrong, "; ".join(wrong)
    for path in [path for path in options if "noexec" in wanted[path]]:
        script = f"{path}/rampart-verify"
        tried = kernel.run(f"cp /bin/true {script} && chmod 755 {script} && {script}; rc=$?; rm -f {script}; exit $rc")
        assert tried.rc == 126, f"a program ran from {path}"


@pytest.fixture
def profiles(kernel):
    """{profile: mode} of AppArmor, as loaded."""
    if kernel.run("cat /sys/module/apparmor/parameters/enabled").stdout.strip() != "Y":
        pytest.fail("AppArmor is not on")
    shown = kernel.run("cat /sys/kernel/security/apparmor/profiles").stdout
    return dict(re.findall(r"(?m)^(.+) \((\w+)\)$", shown))


@pytest.mark.control("kernel.apparmor")
def test_apparmor(kernel, profiles, evidence):
    evidence(profiles)
    assert profiles, "no profile is loaded"


@pytest.mark.control("kernel.apparmor_enforce")
def test_apparmor_enforce(kernel, profiles, evidence):
    complain = sorted(name for name, mode in profiles.items() if mode == "complain")
    evidence({"complain": complain})
    assert not complain, f"only complain: {', '.join(complain)}"


@pytest.mark.control("kernel.boot_password")
def test_boot_password(kernel, policy, evidence, not_applicable):
    menu = kernel.run("cat /boot/grub/grub.cfg").stdout
    users = re.search(r'(?m)^\s*set superusers="(.+)"', menu)
    if not users and "kernel_boot_password" not in policy["set"]:
        not_applicable("the policy sets no password (kernel_boot_password)")
    assert users, "GRUB lets everybody change how the host is started"
    evidence(f"changes take the password of {users[1]}")
    for user in re.split(r"[\s,;&|]+", users[1]):
        assert re.search(rf"(?m)^\s*password(_pbkdf2)?\s+{re.escape(user)}\s", menu), f"{user} has no password"
    for path in kernel.run("grep -lsE '^\\s*password' /boot/grub/grub.cfg /etc/grub.d/*").stdout.split():
        mode = kernel.file(path).mode
        assert not mode & 0o077, f"{path} can be read by others: {mode:o}"


@pytest.mark.control("kernel.boot")
def test_boot(kernel, policy, evidence, not_applicable):
    wanted = [str(word) for word in policy.get("kernel_boot_parameters") or []]
    lockdown = policy.get("kernel_lockdown")
    if not wanted and not lockdown:
        not_applicable("the policy asks for no boot parameters (kernel_boot_parameters, kernel_lockdown)")
    words = kernel.check_output("cat /proc/cmdline").split()
    state = kernel.run("cat /sys/kernel/security/lockdown").stdout.strip()
    evidence({"command line": words, "lockdown": state})
    missing = [word for word in wanted if word not in words]
    assert not missing, f"not started with {' '.join(missing)} (a restart is due?)"
    if lockdown:
        assert f"[{lockdown}]" in state, f"lockdown is {state or 'not known to this kernel'}"
