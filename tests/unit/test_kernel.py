# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import copy
import subprocess

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_kernel
from ansible_collections.rampart.hardening.plugins.plugin_utils import kernel

EVERYTHING = [f"kernel.{name}" for name in (
    "network", "router_advertisements", "forwarding", "memory", "files", "ptrace", "bpf", "kexec", "perf",
    "sysrq", "user_namespaces", "modules", "image_modules", "core_dumps", "mounts", "apparmor", "apparmor_enforce",
    "usb", "boot", "boot_password")]  # fmt: skip
TMP = "/tmp"  # noqa: S108 -- the mount point
MOUNTS = {TMP: ["nosuid", "nodev", "noexec"], "/home": ["nosuid", "nodev"]}
SURVEY = {
    "system": {"container": "", "init": "systemd"},
    "firewall": {"forwards": []},
    "kernel": {
        "writable": True,
        "interfaces": ["all", "default", "lo", "eth0"],
        "sysctl": {
            "net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/eth0/rp_filter": "0", "net/ipv4/ip_forward": "1",
            "net/ipv4/conf/all/send_redirects": "1", "net/ipv6/conf/all/accept_ra": "1",
            "kernel/yama/ptrace_scope": "0", "kernel/kexec_load_disabled": "0", "kernel/core_pattern": "core",
            "kernel/unprivileged_userns_clone": "1", "kernel/dmesg_restrict": "1",
        },
        "files": [],
        "routes": {"advertised": False, "uneven": False, "rules": False},
        "mounts": {"/": ["rw"], TMP: ["rw", "nodev"]},
        "modules": {"udf": 0, "sctp": 2},
        "filesystems": ["ext4", "hfsplus"],
        "apparmor": {"enabled": True, "complain": [], "files": {}, "forced": [], "enforce": 5, "parser": True},
        "needs": {"sandboxes": [], "crash_dumps": [], "dkms": [], "images": [], "roots": [], "balancers": [],
                  "azure": False},
        "boot": {"ours": False, "command_line": ["quiet"], "grub": True, "lockdown": "none"},
        "usb": {"bus": False, "guard": False, "guarded": False, "default": ""},
        "tmp_ours": False,
    },
}  # fmt: skip


def made(controls=EVERYTHING, survey=None, **policy):
    return kernel.change(survey or SURVEY, controls, mount_options=MOUNTS, **policy)


def with_(path, value, survey=None):
    """The survey with one value otherwise; the path's parts are separated by colons."""
    changed = copy.deepcopy(survey or SURVEY)
    place = changed
    *way, last = path.split(":")
    for part in way:
        place = place[part]
    place[last] = value
    return changed


def sysctl(change):
    found = {one["path"]: one for one in change["files"]}[kernel.SYSCTL_FILE]
    lines = found.get("content", "").splitlines()
    pairs = [line.lstrip("-").split(" = ") for line in lines if " = " in line]
    return {survey_kernel.sysctl_path(key): value for key, value in pairs}


def test_parameters_are_written_as_auditors_look_for_them():
    text = {one["path"]: one for one in made()["files"]}[kernel.SYSCTL_FILE]["content"]
    assert "\nkernel.yama.ptrace_scope = 1\n" in text and "\nnet.ipv4.conf.all.rp_filter = 1\n" in text
    assert "\n-net/ipv4/conf/*/rp_filter = 1\n" in text


def test_names_of_parameters_with_dots_and_slashes():
    assert survey_kernel.sysctl_path("net.ipv4.conf.eth0/1.rp_filter") == "net/ipv4/conf/eth0.1/rp_filter"
    assert survey_kernel.sysctl_path("net/ipv4/conf/eth0.1/rp_filter") == "net/ipv4/conf/eth0.1/rp_filter"


def test_parameters_are_set_for_all_interfaces_and_put_back_by_name():
    change = made()
    found = sysctl(change)
    assert found["net/ipv4/conf/all/rp_filter"] == found["net/ipv4/conf/*/rp_filter"] == "1"
    assert found["net/ipv4/ip_forward"] == "0" and found["kernel/core_pattern"] == "|/bin/false"
    assert "kernel/sysrq" not in found  # this kernel does not have it
    back = next(argv for argv in change["revert"] if "sysctl -q -w" in " ".join(argv))
    assert "net/ipv4/ip_forward=1" in back and not any("dmesg_restrict" in word for word in back)


@pytest.mark.parametrize(
    ("path", "value", "gone", "said"),
    [
        ("firewall:forwards", ["docker"], "net/ipv4/ip_forward", "forwards (docker)"),
        ("firewall:forwards", ["podman"], "kernel/unprivileged_userns_clone", "needed by podman"),
        ("kernel:needs:sandboxes", ["bubblewrap"], "kernel/unprivileged_userns_clone", "needed by bubblewrap"),
        ("kernel:needs:crash_dumps", ["/etc/default/kdump-tools"], "kernel/kexec_load_disabled", "crash dumps need it"),
        ("kernel:needs:balancers", ["/etc/keepalived"], "net/ipv4/conf/*/send_redirects", "may answer for others"),
        ("kernel:routes:advertised", True, "net/ipv6/conf/*/accept_ra", "router advertisement"),
    ],
)
def test_what_the_host_needs_is_left_and_said(path, value, gone, said):
    change = made(survey=with_(path, value))
    assert gone in sysctl(made()) and gone not in sysctl(change)
    assert any(said in note for note in change["notes"])


@pytest.mark.parametrize(("path", "value"), [
    ("kernel:routes:uneven", True), ("kernel:routes:rules", True), ("firewall:forwards", ["kubernetes"])])  # fmt: skip
def test_where_packets_come_back_another_way_their_source_is_checked_loosely(path, value):
    assert sysctl(made(survey=with_(path, value)))["net/ipv4/conf/*/rp_filter"] == "2"


def test_stricter_settings_of_the_site_stay_weaker_ones_are_overridden_by_name_and_later_ones_refused():
    def site(name, key, value):
        entry = {"file": f"/etc/sysctl.d/{name}", "line": 3, "key": survey_kernel.sysctl_path(key), "value": value}
        return made(survey=with_("kernel:files", [entry]))

    stricter = site("10-site.conf", "kernel.yama.ptrace_scope", "3")
    assert sysctl(stricter)["kernel/yama/ptrace_scope"] == "3" and not stricter["notes"][1:]
    weaker = site("99-site.conf", "kernel.yama.ptrace_scope", "0")
    assert sysctl(weaker)["kernel/yama/ptrace_scope"] == "1"
    assert any("overrides /etc/sysctl.d/99-site.conf:3" in note for note in weaker["notes"])
    later = site("zzz-site.conf", "kernel.yama.ptrace_scope", "0")
    assert "read after our" in later["refuse"][0]
    # systemd sets what a pattern names only where no other line names it outright
    assert sysctl(site("10-site.conf", "net.ipv4.conf.eth0.rp_filter", "0"))["net/ipv4/conf/eth0/rp_filter"] == "1"


def test_the_policy_may_set_more_or_leave_a_parameter():
    found = sysctl(made(sysctl={"kernel.yama.ptrace_scope": None, "vm.swappiness": 10}))
    assert "kernel/yama/ptrace_scope" not in found and found["vm/swappiness"] == "10"


def test_modules_in_use_and_file_systems_in_fstab_stay_and_others_are_denied():
    change = made(allowed=["usb-storage"])
    text = {one["path"]: one for one in change["files"]}[kernel.MODULES_FILE]["content"]
    assert "install udf /bin/false" in text and "install dccp /bin/false" in text
    assert not any(f"install {name} " in text for name in ("sctp", "hfsplus", "usb_storage"))
    assert any("in use, and not denied: hfsplus, sctp" in note for note in change["notes"])
    assert any("modprobe -r" in argv[2] and argv[-1] == "udf" for argv in change["activate"] if len(argv) > 2)
    azure = made(survey=with_("kernel:needs:azure", True))
    assert "udf" not in {one["path"]: one for one in azure["files"]}[kernel.MODULES_FILE]["content"]


@pytest.mark.parametrize(("path", "value"), [
    ("kernel:needs:images", ["/usr/bin/snap"]), ("kernel:needs:sandboxes", ["apptainer"]),
    ("firewall:forwards", ["docker"])])  # fmt: skip
def test_overlay_and_squashfs_go_where_nothing_mounts_them(path, value):
    def text(change):
        return {one["path"]: one for one in change["files"]}[kernel.MODULES_FILE]["content"]

    assert "install overlay /bin/false" in text(made()) and "install squashfs /bin/false" in text(made())
    kept = made(survey=with_(path, value))
    assert "overlay" not in text(kept) and "install cramfs" in text(kept)
    assert any("overlay and squashfs stay: needed by" in note for note in kept["notes"])
    assert "overlay" not in text(made([one for one in EVERYTHING if one != "kernel.image_modules"]))
    mounted = text(made(survey=with_("kernel:filesystems", ["overlay"])))
    assert "install overlay" not in mounted and "install squashfs" in mounted


def test_a_var_with_other_systems_in_it_keeps_their_devices_and_rights():
    options = {"/var": ["nosuid", "nodev"], "/var/log/audit": ["noexec"]}
    survey = with_("kernel:mounts", {"/": ["rw"], "/var": ["rw"], "/var/log/audit": ["rw"]})

    def unit(survey):
        change = kernel.change(survey, EVERYTHING, mount_options=options)
        return {one["path"]: one for one in change["files"]}[kernel.MOUNTS_UNIT]["content"]

    assert "remount,nosuid,nodev /var\n" in unit(survey) and "remount,noexec /var/log/audit\n" in unit(survey)
    assert " /var\n" not in unit(with_("kernel:needs:roots", ["/var/lib/lxc/a/rootfs"], survey))


def test_mounts_get_what_they_lack_and_give_back_only_that():
    change = made()
    files = {one["path"]: one for one in change["files"]}
    assert "remount,nosuid,nodev,noexec /tmp" in files[kernel.MOUNTS_UNIT]["content"]
    assert "/home" not in files[kernel.MOUNTS_UNIT]["content"]  # no mount of its own
    assert ["mount", "-o", "remount,suid,exec", TMP] in change["revert"]
    assert "TempDir" in files[kernel.APT_FILE]["content"]
    gone = {one["path"]: one for one in made(controls=[])["files"]}
    assert gone[kernel.MOUNTS_UNIT]["state"] == gone[kernel.MOUNTS_WANTED]["state"] == "absent"


def test_a_tmp_in_memory_has_its_options_from_its_own_unit_before_and_after_the_next_start():
    plain = with_("kernel:mounts", {"/": ["rw"], "/home": ["rw"]})
    booted = with_("kernel:tmp_ours", True, with_("kernel:mounts", {"/": ["rw"], "/home": ["rw"], TMP: ["rw"]}))
    first, later = (
        {one["path"]: one for one in made(survey=survey, tmpfs="50%")["files"]} for survey in (plain, booted)
    )
    assert first == later
    assert f"ConditionPathExists=!{kernel.TMP_LATER}\n" in first[kernel.TMP_UNIT]["content"]
    activate = made(survey=plain, tmpfs="50%")["activate"]
    later = activate.index(["install", "-D", "/dev/null", kernel.TMP_LATER])
    assert ["systemctl", "daemon-reload"] not in activate[:later]
    assert kernel.TMP_LATER not in str(made(survey=booted, tmpfs="50%")["activate"])
    assert "noexec,size=50%" in first[kernel.TMP_UNIT]["content"] and TMP not in first[kernel.MOUNTS_UNIT]["content"]
    assert {one["path"]: one for one in made(survey=plain)["files"]}[kernel.TMP_UNIT]["state"] == "absent"


def test_boot_parameters_only_where_asked_for_and_lockdown_not_where_modules_are_built():
    assert {one["path"]: one for one in made()["files"]}[kernel.GRUB_FILE]["state"] == "absent"
    change = made(boot_parameters=["slab_nomerge"], lockdown="integrity")
    files = {one["path"]: one for one in change["files"]}
    assert "slab_nomerge lockdown=integrity" in files[kernel.GRUB_FILE]["content"]
    assert "take effect at the next start: slab_nomerge lockdown=integrity" in change["notes"]
    built = made(survey=with_("kernel:needs:dkms", ["zfs"]), lockdown="integrity")
    assert "zfs" in built["refuse"][0]
    assert made(survey=with_("kernel:boot:grub", False), boot_parameters=["quiet"])["refuse"]
    assert made(boot_parameters=["a b; reboot"])["refuse"]


HASH = "grub.pbkdf2.sha512.10000.0A1B.2C3D"


def test_a_boot_password_guards_the_menu_and_no_start():
    change = made(boot_password=HASH)
    entry = {one["path"]: one for one in change["files"]}[kernel.GRUB_GUARD_FILE]
    assert entry["sensitive"] and entry["mode"] == "0700"
    told = subprocess.run(["sh", "-c", entry["content"]], capture_output=True, text=True, check=True).stdout
    assert f"password_pbkdf2 bootadmin {HASH}\n" in told and 'menuentry_id_option="--unrestricted ' in told
    assert change["activate"].index(["sh", "-c", "update-grub 2>&1"]) < change["activate"].index(change["active"][-1])
    absent = {one["path"]: one for one in made()["files"]}[kernel.GRUB_GUARD_FILE]
    assert absent["state"] == "absent" and absent["sensitive"]
    assert "grub-mkpasswd-pbkdf2" in made(boot_password="in the clear")["refuse"][0]
    assert "GRUB" in made(survey=with_("kernel:boot:grub", False), boot_password=HASH)["refuse"][0]


USB = with_("kernel:usb", {"bus": True, "guard": True, "guarded": False, "default": "1"})
SERIAL = "allow id 0403:6001"


def usb_files(root, argv):
    return subprocess.run([word.replace("%s", str(root)) for word in argv], capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ("", ""),
        ("ImplicitPolicyTarget=reject\nIPCAllowedGroups=root plugdev\nHidePII=true\n", "HidePII=true"),
        ("#AuthorizedDefault=none\nAuthorizedDefault=all\n", "#AuthorizedDefault=none"),
        ("PresentDevicePolicy=allow\nPresentDevicePolicy=block\n", ""),
    ],
)
def test_what_the_site_told_usbguard_stays_unless_it_is_weaker(tmp_path, settings, kept):
    derived = made(survey=USB, usb_allowed=[SERIAL])["derive"][0]
    folder = tmp_path / "etc/usbguard"
    assert usb_files(tmp_path, derived["holds"]) and not folder.exists()
    if settings:
        folder.mkdir(parents=True)
        (folder / "usbguard-daemon.conf").write_text(settings)
        (folder / "rules.conf").write_text("allow id 1234:5678\n")
        assert usb_files(tmp_path, derived["holds"])
    assert usb_files(tmp_path, derived["command"]) == 0
    assert usb_files(tmp_path, derived["holds"]) == 0
    lines = (folder / "usbguard-daemon.conf").read_text().splitlines()
    found = [line.split("=") for line in lines if not line.startswith("#")]
    assert {name: value in kernel.USB_WANTED.get(name, [value]) for name, value in found} == dict.fromkeys(
        [name for name, value in found], True)  # fmt: skip
    assert set(kernel.USB_WANTED) <= {name for name, value in found} and len(found) == len(dict(found))
    assert ("ImplicitPolicyTarget=reject" in lines) is ("ImplicitPolicyTarget=reject" in settings)
    assert kept in lines or not kept
    rules = (folder / "rules.conf").read_text().splitlines()
    assert rules == ["allow id 1234:5678"] * bool(settings) + [SERIAL, kernel.USB_ALLOWED]
    (folder / "rules.conf").write_text(kernel.USB_ALLOWED)
    assert usb_files(tmp_path, derived["holds"])


def test_usb_is_guarded_where_there_is_a_bus_and_set_free_by_undo():
    change = made(survey=USB)
    assert ["usbguard-rule-parser", "-f", kernel.USB_RULES] in change["validate"]
    assert {"path": kernel.USB_OTHERS, "state": "absent"} in change["files"]
    assert ["sh", "-c", kernel.USB_STOP, "sh", "1"] in change["revert"]
    running = made(survey=with_("kernel:usb:guarded", True, USB))
    assert ["systemctl", "restart", "usbguard.service"] in running["revert"]
    without = made()
    assert without["derive"] == without["validate"] == [] and "usbguard" not in str(without)
    assert "usbguard" not in str(made(survey=with_("system:container", "lxc", USB)))


@pytest.mark.parametrize("rule", ["block id 1:2", "allow", "allow *", "allow\nallow id 1:2", "id 1:2", 5])
def test_a_rule_for_usb_that_says_nothing_is_refused(rule):
    assert "kernel_usb_allowed" in made(survey=USB, usb_allowed=[rule])["refuse"][0]


OPEN, WAITING = "menuentry 'Debian' --class os $menuentry_id_option 'x' {\n}\n", 'menuentry "memtest" {\n}\n'


@pytest.mark.parametrize(
    ("default", "menu", "fine"),
    [("0", OPEN, True), ("0", OPEN + WAITING, True), ("0", WAITING + OPEN, False), ("saved", OPEN + WAITING, False),
     ("saved", OPEN, True)],
)  # fmt: skip
def test_a_boot_loader_that_would_wait_is_found(tmp_path, default, menu, fine):
    script, config = tmp_path / "01_rampart", tmp_path / "grub.cfg"
    password = f"password_pbkdf2 bootadmin {HASH}\n"
    script.write_text(f"cat <<END\n{password}END\n")
    config.write_text(f'  set default="${{next_entry}}"\n   set default="{default}"\n{password}{menu}')
    done = subprocess.run(["sh", "-c", kernel.GRUB_GUARDED, "sh", script, config], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode == 0) is fine and ("memtest" in done.stdout) is not fine
    config.write_text(config.read_text().replace("2C3D", "FFFF"))
    assert subprocess.run(["sh", "-c", kernel.GRUB_GUARDED, "sh", script, config], check=False).returncode


def test_a_profile_that_complains_is_enforced_with_its_other_flags():
    other = "profile y flags=(attach_disconnected,mediate_deleted) {\n}\n"
    profile = "profile x flags=(attach_disconnected,complain) {\n}\n" + other
    survey = with_("kernel:apparmor:files", {"/etc/apparmor.d/x": profile})
    text = {one["path"]: one for one in made(survey=survey)["files"]}["/etc/apparmor.d/x"]["content"]
    assert text == "profile x flags=(attach_disconnected) {\n}\n" + other


def test_in_a_container_nothing_of_the_kernel_is_set():
    survey = with_("kernel:writable", False, with_("system:container", "podman"))
    present = {one["path"] for one in made(survey=survey)["files"] if one.get("state") != "absent"}
    assert present == {kernel.LIMITS_FILE, kernel.PROFILE_FILE, kernel.COREDUMP_FILE}
