# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the kernel of a host is to be set, given the policy and what the survey found: nothing here touches a host."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping

from ansible_collections.rampart.hardening.plugins.module_utils.survey_firewall import ENGINES
from ansible_collections.rampart.hardening.plugins.module_utils.survey_kernel import (
    OURS,
    WANTED,
    sysctl_path,
)

HEADER = "# Written by the role kernel of rampart.hardening. Do not edit: change the inventory.\n"
SYSCTL_FILE = f"/etc/sysctl.d/{OURS}"
MODULES_FILE = "/etc/modprobe.d/rampart.conf"
LIMITS_FILE = "/etc/security/limits.d/rampart-core.conf"
PROFILE_FILE = "/etc/profile.d/rampart-core.sh"
COREDUMP_FILE = "/etc/systemd/coredump.conf.d/rampart.conf"
APT_FILE = "/etc/apt/apt.conf.d/90rampart-tmp"
MOUNTS_UNIT = "/etc/systemd/system/rampart-mounts.service"
MOUNTS_WANTED = "/etc/systemd/system/local-fs.target.wants/rampart-mounts.service"
TMP = "/tmp"  # noqa: S108 -- the mount point itself
VAR = "/var"
TMP_UNIT = "/etc/systemd/system/tmp.mount"
TMP_WANTED = "/etc/systemd/system/local-fs.target.wants/tmp.mount"
TMP_LATER = "/run/rampart/tmp-later"  # gone with the next start
GRUB_FILE = "/etc/default/grub.d/zz-rampart.cfg"
GRUB_CFG = "/boot/grub/grub.cfg"
GRUB_GUARD_FILE = "/etc/grub.d/01_rampart"  # after the header, which sets what it changes
# Entries start without it: a host that waits for somebody at every start is lost. Submenus know exported variables only
GRUB_GUARD = """#!/bin/sh
{header}cat <<'END'
set superusers="bootadmin"
export superusers
password_pbkdf2 bootadmin {password}
menuentry_id_option="--unrestricted $menuentry_id_option"
END
"""
# Whether it is in force, and no entry waits for it but some that are not the default one
GRUB_GUARDED = """
grep -qxF "$(grep ^password_pbkdf2 "$1")" "$2" || { echo "$2 has no password"; exit 1; }
entries=$(grep -E '^[[:space:]]*(menuentry|submenu) ' "$2")
if grep -q 'set default="0"' "$2"; then entries=$(printf '%s' "$entries" | head -n 1); fi
! printf '%s' "$entries" | grep -vE 'menuentry_id_option|--unrestricted' ||
    { echo "these entries would wait for the password at every start: give them the option --unrestricted"; exit 1; }
"""
USB_RULES = "/etc/usbguard/rules.conf"
USB_SETTINGS = "/etc/usbguard/usbguard-daemon.conf"
USB_OTHERS = "/etc/usbguard/IPCAccessControl.d/:plugdev"  # the package's own
# Keyboards, or nobody could work at the console in an emergency, hubs, and hardware keys, which are smart cards as well
USB_ALLOWED = "allow with-interface match-all { 03:*:* 09:*:* 0b:*:* }"
# {setting: what it may be, what it becomes first}
USB_WANTED = {
    "ImplicitPolicyTarget": ("block", "reject"),
    "PresentDevicePolicy": ("apply-policy", "block", "reject"),
    "PresentControllerPolicy": ("apply-policy",),
    "InsertedDevicePolicy": ("apply-policy", "block", "reject"),
    "AuthorizedDefault": ("none",),
    "RestoreControllerDeviceState": ("false",),
    "IPCAllowedUsers": ("root",),
    "IPCAllowedGroups": ("root",),
}
# What the daemon and the site have in the files stays. Arguments: the root, settings as NAME=VALUE|VALUE, --, rules
USB_FILES = """
[ ! "$change" ] || mkdir -p "$1/etc/usbguard"
cd "$1/etc/usbguard" && shift || exit
while [ "$1" != -- ]; do
    name=${1%%=*} wanted=${1#*=} found=$(grep "^${1%%=*}=" usbguard-daemon.conf)
    if [ ! "$found" ] || echo "$found" | grep -vqxE "$name=($wanted)"; then
        [ "$change" ] || exit
        sed -i "/^$name=/d" usbguard-daemon.conf
        echo "$name=${wanted%%|*}" >>usbguard-daemon.conf
    fi
    shift
done
shift
for rule; do
    grep -qxF -- "$rule" rules.conf || { [ "$change" ] && echo "$rule" >>rules.conf; } || exit
done
"""
# What is in use stays so: nobody knows better than the host itself
USB_START = """
systemctl disable --now usbguard-dbus.service 2>/dev/null
used=$(grep -lx 1 /sys/bus/usb/devices/*/authorized)
systemctl enable usbguard.service && systemctl restart usbguard.service || exit
sleep 2
for one in $used; do
    [ ! -e "$one" ] || [ "$(cat "$one")" = 1 ] || { cd "${one%/*}" &&
        lost="$lost, $(cat product 2>/dev/null) (allow id $(cat idVendor):$(cat idProduct))"; }
done
[ ! "$lost" ] || { echo "USB devices in use would be cut off unless kernel_usb_allowed has them${lost}"; exit 1; }
"""
USB_STOP = """
systemctl disable --now usbguard.service 2>/dev/null
for one in /sys/bus/usb/devices/usb*/authorized_default; do echo "$1" >"$one"; done
for one in /sys/bus/usb/devices/*/authorized; do [ "$(cat "$one")" = 1 ] || echo 1 >"$one"; done
"""
GRUB_HASH = re.compile(r"grub\.pbkdf2\.sha512\.[0-9]+\.[0-9A-F]+\.[0-9A-F]+")
SYSTEMD_SYSCTL = "/lib/systemd/systemd-sysctl"
# Who routes through rules or tunnels of its own has packets come back another way than they went
LOOSE = {"kubernetes", "wireguard", "proxmox"}
# Kernel modules that servers do without: {name: why it is denied}
DENIED = {
    **dict.fromkeys(
        ("cramfs", "freevxfs", "hfs", "hfsplus", "jffs2", "udf"),
        "a file system that no server needs: mounting a crafted image is a way into the kernel",
    ),
    **dict.fromkeys(
        ("dccp", "rds", "sctp", "tipc", "can", "atm", "appletalk", "ax25", "netrom", "rose", "x25", "decnet", "econet",
         "ipx", "llc2", "phonet", "caif", "n_hdlc", "ksmbd"),
        "a protocol that few use and fewer look after: any user may have it loaded by opening a socket",
    ),
    **dict.fromkeys(
        ("firewire_core", "firewire_ohci", "thunderbolt"), "a port through which a device reads all memory"
    ),
    "usb_storage": "whoever stands before the machine carries data off, or in",
    "bluetooth": "a radio, which a server has no use for",
    "cfg80211": "wireless networks, which a server has no use for",
    "vivid": "a driver for tests, known for its holes",
    "floppy": "a device that nobody has, emulated by code that had holes",
}  # fmt: skip
IMAGES = dict.fromkeys(("overlay", "squashfs"), "layers and images, which nothing on this host mounts")
FILE_SYSTEMS = {"cramfs", "freevxfs", "hfs", "hfsplus", "jffs2", "udf", *IMAGES}
# What routers and those who balance load or fail over set for a reason
ROUTERS = ("send_redirects", "secure_redirects", "shared_media", "accept_local", "route_localnet", "proxy_arp",
           "bootp_relay")  # fmt: skip
MOUNT_OPTIONS = ("nosuid", "nodev", "noexec")
OPPOSITE = {"nosuid": "suid", "nodev": "dev", "noexec": "exec"}
NO_DUMP = "|/bin/false"
LOCKDOWN = ("", "integrity", "confidentiality")
USB_RULE = re.compile(r"allow [a-z0-9].*")
PARAMETER = re.compile(r"[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:/+-]*)?")


def stricter(one: str, other: str, side: str) -> bool:
    """Whether the value `one` of a parameter is at least as strict as `other`; `side` is where stricter ones lie."""
    if one == other:
        return True
    try:
        return (side == "high" and int(one) > int(other)) or (side == "low" and int(one) < int(other))
    except ValueError:
        return False


def left_alone(survey: Mapping, control: str, key: str, forwarding: str) -> str:
    """Why a parameter stays as the host has it; empty where it does not."""
    kernel, forwards = survey["kernel"], survey["firewall"]["forwards"]
    if control == "kernel.forwarding" or key.endswith(ROUTERS):
        if forwarding == "keep":
            return "kernel_forwarding is keep"
        if forwarding == "auto" and forwards:
            return f"this host forwards ({', '.join(forwards)})"
        if control != "kernel.forwarding" and kernel["needs"]["balancers"]:
            return f"this host may answer for others ({kernel['needs']['balancers'][0]})"
    if control == "kernel.router_advertisements" and kernel["routes"]["advertised"]:
        return "its default route comes by router advertisement"
    if control == "kernel.kexec" and kernel["needs"]["crash_dumps"]:
        return f"crash dumps need it ({kernel['needs']['crash_dumps'][0]})"
    if control == "kernel.user_namespaces":
        users = containers(survey)
        return f"needed by {', '.join(users)}" if users else ""
    return ""


def containers(survey: Mapping) -> list[str]:
    """The container engines and sandboxes of a host."""
    engines = {engine[0] for engine in ENGINES}
    return [name for name in survey["firewall"]["forwards"] if name in engines] + survey["kernel"]["needs"]["sandboxes"]


def parameters(survey: Mapping, controls: set[str], forwarding: str, extra: Mapping) -> dict:
    """The kernel parameters: {lines: of the drop-in, live: {path: value} that must be in force, notes, refuse}."""
    kernel = survey["kernel"]
    result = {"lines": [], "live": {}, "notes": [], "refuse": []}
    if not kernel["writable"]:
        return result
    site: dict[str, list[dict]] = {}
    for entry in kernel["files"]:
        site.setdefault(entry["key"], []).append(entry)
    extra = {sysctl_path(key): None if value is None else str(value) for key, value in extra.items()}
    uneven = kernel["routes"]["uneven"] or kernel["routes"]["rules"] or LOOSE & set(survey["firewall"]["forwards"])
    wishes = [
        (sysctl_path(key), value, side, left_alone(survey, control, key, forwarding))
        for control, key, value, side in WANTED
        if control in controls and sysctl_path(key) not in extra
    ]
    kept: dict[str, list[str]] = {}
    for path, value, side, reason in wishes + [(path, value, "", "") for path, value in extra.items() if value]:
        if reason:
            kept.setdefault(reason, []).append(path)
            continue
        if path.endswith("/rp_filter") and uneven:
            value, side = "2", ""  # packets may come back another way: any way at all has to lead there
        here = [one for one in kernel["sysctl"] if fnmatch.fnmatchcase(one, path)]
        if path not in extra and not here:
            continue  # this kernel does not have it
        said = [entry for key, entries in site.items() for entry in entries[-1:] if covers(path, key)]
        for entry in said:
            if stricter(entry["value"], value, side):
                value = entry["value"]
        for entry in said:
            if entry["value"] == value:
                continue
            place = f"{entry['file']}:{entry['line']} ({entry['key']} = {entry['value']})"
            if entry["file"].startswith("/etc/ufw/"):
                result["refuse"].append(f"ufw sets {place} whenever it starts: take the line out")
            elif os.path.basename(entry["file"]) > OURS and entry["file"] != "/etc/sysctl.conf":
                result["refuse"].append(
                    f"{place} is read after our {SYSCTL_FILE}: rename the file, or waive the control"
                )
            elif not entry["file"].startswith(("/usr/lib/", "/lib/")):  # those are the distribution's own
                result["notes"].append(f"overrides {place}")
        # what is set for all interfaces at once does not reach those that another file names
        explicit = sorted({entry["key"] for entry in said if "*" not in entry["key"]} - {path}) if "*" in path else []
        for one in [path.replace("*", "all"), path.replace("*", "default"), path, *explicit] if "*" in path else [path]:
            # with dots, as most who read such files expect it; what is not there now may come and go
            plain = one in survey["kernel"]["sysctl"] and "." not in one
            line = f"{one.replace('/', '.')} = {value}" if plain else f"-{one} = {value}"
            if line not in result["lines"]:
                result["lines"].append(line)
        result["live"].update(dict.fromkeys(here, value))
    result["notes"] += [f"{len(paths)} parameters are left as they are: {reason}" for reason, paths in kept.items()]
    return result


def covers(path: str, key: str) -> bool:
    """Whether the setting `key` of a site is about the parameters that `path` stands for."""
    return fnmatch.fnmatchcase(key, path) or fnmatch.fnmatchcase(path, key)


def modules(survey: Mapping, denied: Mapping[str, str], allowed: Iterable[str]) -> dict:
    """The modules: {denied: {name: why}, loaded: [name] that are to go, notes}."""
    kernel, notes, result = survey["kernel"], [], {}
    allowed, busy = {name.replace("-", "_") for name in allowed}, []
    for name, why in denied.items():
        if name in allowed:
            continue
        if name == "udf" and kernel["needs"]["azure"]:
            notes.append("udf stays: Azure hands its settings over on such a disk")
        elif kernel["modules"].get(name, 0) > 0 or (name in FILE_SYSTEMS and name in kernel["filesystems"]):
            busy.append(name)
        else:
            result[name] = why
    if busy:
        notes.append(f"in use, and not denied: {', '.join(busy)}")
    return {"denied": result, "loaded": sorted(set(result) & set(kernel["modules"])), "notes": notes}


def modules_file(denied: Mapping[str, str]) -> str:
    """What modprobe reads: neither by alias nor by name."""
    blocks, reasons = [], {}
    for name, why in denied.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        blocks.append("\n".join([f"# {why}", *(f"blacklist {one}\ninstall {one} /bin/false" for one in names)]))
    return HEADER + "\n" + "\n\n".join(blocks) + "\n" if blocks else ""


def mounts(survey: Mapping, wanted: Mapping[str, Iterable[str]]) -> dict:
    """The mounts: {remount: {path: [option]} that should be in force, missing: the same without those that are}."""
    here = survey["kernel"]["mounts"]
    remount = {path: list(options) for path, options in wanted.items() if path in here and options}
    missing = {path: [one for one in options if one not in here[path]] for path, options in remount.items()}
    return {"remount": remount, "missing": {path: options for path, options in missing.items() if options}}


def policy_trouble(
    password: str, parameters: Iterable[str], lockdown: str, wanted: Mapping, forwarding: str, usb: Iterable[str]
) -> list[str]:
    """What is wrong with the policy, whatever the host."""
    found = [f"kernel_boot_parameters: {one!r} is no parameter of the kernel" for one in parameters
             if not PARAMETER.fullmatch(str(one))]  # fmt: skip
    if password and not GRUB_HASH.fullmatch(password):
        found.append("kernel_boot_password: this is no hash that grub-mkpasswd-pbkdf2 made")
    if lockdown not in LOCKDOWN:
        found.append(f"kernel_lockdown: {lockdown!r} is neither integrity nor confidentiality")
    found += [f"kernel_usb_allowed: {one!r} is no rule of USBGuard that allows something named"
              for one in usb if not USB_RULE.fullmatch(str(one))]  # fmt: skip
    if forwarding not in ("auto", "keep", "off"):
        found.append(f"kernel_forwarding: {forwarding!r} is none of auto, keep, off")
    for path, options in wanted.items():
        found += [f"kernel_mount_options: {one!r} of {path} is none of {', '.join(MOUNT_OPTIONS)}"
                  for one in options if one not in MOUNT_OPTIONS]  # fmt: skip
    return found


class Change:
    """One confirmed change, put together part by part."""

    def __init__(self, survey: Mapping, controls: Iterable[str]):
        self.survey, self.kernel, self.on = survey, survey["kernel"], set(controls)
        self.container = bool(survey["system"]["container"])
        self.systemd = survey["system"]["init"] == "systemd"
        self.refuse: list[str] = []
        self.notes: list[str] = []
        self.active: list[list[str]] = []
        self.activate: list[list[str]] = []
        # a unit undoes nothing by being stopped: what it mounted anew is mounted back
        self.revert: list[list[str]] = [["systemctl", "daemon-reload"]] if self.systemd else []
        self.contents: dict[str, str] = dict.fromkeys(
            (SYSCTL_FILE, MODULES_FILE, LIMITS_FILE, PROFILE_FILE, COREDUMP_FILE, APT_FILE, MOUNTS_UNIT, TMP_UNIT,
             GRUB_FILE, GRUB_GUARD_FILE), ""
        )  # fmt: skip
        self.links: dict[str, str] = {}
        self.unwanted: list[str] = []
        self.derive: list[dict] = []
        self.validate: list[list[str]] = []

    def set_parameters(self, forwarding: str, sysctl: Mapping) -> None:
        """The drop-in of sysctl. Some of its parameters hold until the next start, whatever is written back."""
        sysctls = self.kernel["sysctl"]
        # a helper of the site's, such as systemd's, keeps its place: it obeys the limits
        plain = "kernel.core_dumps" in self.on and sysctls.get("kernel/core_pattern") in ("core", NO_DUMP)
        dumps = {"kernel.core_pattern": NO_DUMP} if plain else {}
        found = parameters(self.survey, self.on, forwarding, {**dumps, **sysctl})
        self.refuse += found["refuse"]
        self.notes += found["notes"]
        if found["lines"]:
            self.contents[SYSCTL_FILE] = HEADER + "\n".join(found["lines"]) + "\n"
            self.active.append(in_force(found["live"]))
            self.activate += [[SYSTEMD_SYSCTL, SYSCTL_FILE], in_force(found["live"])]
        before = {path: sysctls[path] for path in found["live"] if path in sysctls}
        if old := [f"{path}={value}" for path, value in before.items() if value != found["live"][path]]:
            self.revert.append(["sh", "-c", 'for one; do sysctl -q -w "$one" 2>/dev/null; done; true', "sh", *old])

    def deny_modules(self, denied: Mapping, allowed: Iterable[str]) -> None:
        """Modules that are not loaded any more, and go where nothing uses them."""
        unwanted = {**DENIED, **denied} if "kernel.modules" in self.on else {}
        if "kernel.image_modules" in self.on:
            if users := containers(self.survey) + self.kernel["needs"]["images"]:
                self.notes.append(f"overlay and squashfs stay: needed by {', '.join(users)}")
            else:
                unwanted.update(IMAGES)
        gone = modules(self.survey, {} if self.container else unwanted, allowed)
        self.contents[MODULES_FILE] = modules_file(gone["denied"])
        self.notes += gone["notes"]
        if loaded := gone["loaded"]:
            still = 'for one; do ! grep -q "^$one [0-9]* 0 " /proc/modules || exit; done'
            self.active.append(["sh", "-c", still, "sh", *loaded])
            self.activate.append(["sh", "-c", 'for one; do modprobe -r "$one" 2>/dev/null; done; true', "sh", *loaded])
            self.revert.append(["sh", "-c", 'for one; do modprobe "$one"; done; true', "sh", *loaded])

    def stop_core_dumps(self) -> None:
        """Neither programs nor systemd's helper write any."""
        if "kernel.core_dumps" in self.on:
            self.contents[LIMITS_FILE] = HEADER + "* hard core 0\nroot hard core 0\n"
            self.contents[PROFILE_FILE] = HEADER + "ulimit -c 0\n"  # for shells that PAM did not start
            self.contents[COREDUMP_FILE] = HEADER + "[Coredump]\nStorage=none\nProcessSizeMax=0\n"

    def mount(self, options: Mapping, tmpfs: str) -> None:
        """Options of what everybody may write to, and a /tmp in memory of the size `tmpfs`."""
        needs, there = self.kernel["needs"], self.kernel["mounts"]
        wanted = {**options} if "kernel.mounts" in self.on and not self.container and self.systemd else {}
        if VAR in wanted and needs["roots"] and VAR in there:
            wanted.pop(VAR)
            self.notes.append(f"{VAR} is left as it is: other systems are in it ({needs['roots'][0]})")
        tmp_options = list(wanted.get(TMP, ()))
        in_memory = bool(tmpfs and wanted) and (TMP not in there or self.kernel["tmp_ours"])
        if "noexec" in tmp_options and (in_memory or TMP in there):
            self.contents[APT_FILE] = HEADER.replace("#", "//") + (
                'APT::ExtractTemplates::TempDir "/var/cache/debconf";\n'
            )
        if in_memory:  # with its options in the unit that mounts it
            wanted.pop(TMP, None)
            self.contents[TMP_UNIT] = tmp_unit(tmpfs, tmp_options)
            self.links[TMP_WANTED] = TMP_UNIT
            if TMP not in there:
                # else it is mounted with the next service that starts, over the files of programs that run
                self.activate.append(["install", "-D", "/dev/null", TMP_LATER])
                self.notes.append(
                    f"{TMP} is a file system of its own from the next start on; what is in it now is hidden then"
                )
        shared = mounts(self.survey, wanted)
        if remount := shared["remount"]:
            self.contents[MOUNTS_UNIT] = mounts_unit(remount)
            self.links[MOUNTS_WANTED] = MOUNTS_UNIT
            each = [f"{path} {' '.join(options)}" for path, options in remount.items()]
            self.active.append(["sh", "-c", MOUNTED, "sh", *each])
            restart = ["systemctl", "restart", os.path.basename(MOUNTS_UNIT)]
            self.activate += [["systemctl", "daemon-reload"], restart]
            self.revert += [["mount", "-o", ",".join(["remount", *(OPPOSITE[one] for one in options)]), path]
                            for path, options in shared["missing"].items()]  # fmt: skip

    def guard_usb(self, allowed: Iterable[str]) -> None:
        """USB devices that the site allowed, that were there, or that people need at the console; no others."""
        usb = self.kernel["usb"]
        if "kernel.usb" not in self.on or self.container or not usb["bus"] or not self.systemd:
            return
        words = [f"{name}={'|'.join(values)}" for name, values in USB_WANTED.items()]
        words += ["--", *allowed, USB_ALLOWED]
        self.derive.append({
            "inputs": ["/etc/usbguard"], "outputs": [USB_SETTINGS, USB_RULES],
            "command": ["env", "change=yes", "sh", "-c", USB_FILES, "sh", "%s", *words],
            "holds": ["env", "change=", "sh", "-c", USB_FILES, "sh", "%s", *words],
        })  # fmt: skip
        self.unwanted.append(USB_OTHERS)
        self.validate.append(["usbguard-rule-parser", "-f", USB_RULES])
        self.active.append(["sh", "-c", "systemctl -q is-enabled usbguard && systemctl -q is-active usbguard"])
        self.activate.append(["sh", "-c", USB_START])
        stop = ["sh", "-c", USB_STOP, "sh", usb["default"]]
        self.revert.append(["systemctl", "restart", "usbguard.service"] if usb["guarded"] else stop)

    def boot(self, parameters: list[str], lockdown: str, password: str) -> None:
        """What GRUB hands to the kernel at the next start, and who may change that before it."""
        boot = self.kernel["boot"]
        words = parameters + ([f"lockdown={lockdown}"] if lockdown else [])
        if "kernel.boot" in self.on and words and not self.container:
            if not boot["grub"]:
                self.refuse.append(
                    "kernel_boot_parameters: this host is not started by GRUB as far as /etc/default/grub tells"
                )
            if lockdown and self.kernel["needs"]["dkms"]:
                self.refuse.append(
                    f"kernel_lockdown: modules built on this host ({', '.join(self.kernel['needs']['dkms'])}) are "
                    "signed by nobody and would not be loaded any more"
                )
            self.contents[GRUB_FILE] = f'{HEADER}GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {" ".join(words)}"\n'
            if pending := [word for word in words if word not in boot["command_line"]]:
                self.notes.append(f"take effect at the next start: {' '.join(pending)}")
        if "kernel.boot_password" in self.on and password and not self.container:
            if not boot["grub"]:
                self.refuse.append(
                    "kernel_boot_password: this host is not started by GRUB as far as /etc/default/grub tells"
                )
            self.contents[GRUB_GUARD_FILE] = GRUB_GUARD.format(header=HEADER, password=password)
        if boot["grub"] and (self.contents[GRUB_FILE] or self.contents[GRUB_GUARD_FILE] or boot["ours"]):
            update = ["sh", "-c", "update-grub 2>&1"]
            holds = " && ".join(f"grep -q -- '^[[:space:]]*linux.* {word}' {GRUB_CFG}" for word in words)
            if self.contents[GRUB_FILE]:
                self.active.append(["sh", "-c", holds])
            self.activate.append(update)
            if self.contents[GRUB_GUARD_FILE]:
                self.active.append(["sh", "-c", GRUB_GUARDED, "sh", GRUB_GUARD_FILE, GRUB_CFG])
                self.activate.append(self.active[-1])
            self.revert.append(update)

    def enforce_profiles(self) -> None:
        """AppArmor's profiles in enforce mode, without the links that keep some of them from it."""
        armor = self.kernel["apparmor"]
        if "kernel.apparmor_enforce" not in self.on or self.container:
            return
        if armor["enabled"] and (armor["files"] or armor["forced"]):
            for path, text in armor["files"].items():
                self.contents[path] = re.sub(r"(flags\s*=\s*\()([^)]*)\)", enforcing, text)
            reload = ["sh", "-c", 'for one; do apparmor_parser -r -T -W "$one" || exit; done', "sh",
                      *armor["files"], *forced_files(armor["forced"])]  # fmt: skip
            self.activate.append(reload)
            self.revert.append(reload)
        self.unwanted += armor["forced"]


def change(
    survey: Mapping,
    controls: Iterable[str] = (),
    forwarding: str = "auto",
    sysctl: Mapping | None = None,
    denied: Mapping | None = None,
    allowed: Iterable[str] = (),
    mount_options: Mapping | None = None,
    tmpfs: str = "",
    boot_parameters: Iterable[str] = (),
    lockdown: str = "",
    boot_password: str = "",
    usb_allowed: Iterable[str] = (),
) -> dict:
    """The arguments of the confirmed change. The other arguments are the role's variables without their prefix."""
    made = Change(survey, controls)
    boot_parameters, lockdown = [str(one) for one in boot_parameters or ()], lockdown or ""
    boot_password = boot_password or ""
    made.refuse += policy_trouble(boot_password, boot_parameters, lockdown, mount_options or {}, forwarding,
                                  usb_allowed)  # fmt: skip
    if not made.refuse:
        made.set_parameters(forwarding, sysctl or {})
    made.deny_modules(denied or {}, allowed)
    made.stop_core_dumps()
    made.mount(mount_options or {}, tmpfs)
    made.guard_usb(usb_allowed)
    made.boot(boot_parameters, lockdown, boot_password)
    made.enforce_profiles()

    secret = {GRUB_GUARD_FILE: {"mode": "0700", "sensitive": True}}
    files = [{"path": path, "content": text, **secret.get(path, {})} for path, text in made.contents.items() if text]
    files += [{"path": path, "state": "link", "target": target} for path, target in made.links.items()]
    files += [{"path": path, "state": "absent"} for path in (MOUNTS_WANTED, TMP_WANTED) if path not in made.links]
    files += [{"path": path, "state": "absent", "sensitive": path in secret}
              for path, text in made.contents.items() if not text]  # fmt: skip
    files += [{"path": path, "state": "absent"} for path in made.unwanted]
    parts = ("derive", "validate", "refuse", "notes", "active", "activate", "revert")
    return {"files": files, **{name: getattr(made, name) for name in parts}}


def enforcing(match: re.Match) -> str:
    """The flags of a profile without `complain`."""
    words = re.split(r"[,\s]+", match[2].strip())
    if "complain" not in words:
        return match[0]
    flags = [word for word in words if word and word != "complain"]
    return f"{match[1]}{', '.join(flags)})" if flags else ""


def forced_files(links: Iterable[str]) -> list[str]:
    """The profiles that the links in force-complain stand for."""
    return ["/etc/apparmor.d/" + os.path.basename(link) for link in links]


def in_force(live: Mapping[str, str]) -> list[str]:
    """A command that succeeds where every parameter has its value. The kernel separates words by tabs."""
    script = 'want=$1; shift; cd /proc/sys && [ "$(cat -- "$@" 2>&1 | tr "\\t" " ")" = "$want" ]'
    return ["sh", "-c", script, "sh", "\n".join(live.values()), *live]


MOUNTED = (
    'for one; do set -- $one; path=$1; shift; have=,$(findmnt -n -o OPTIONS --mountpoint "$path" | tail -n 1),; '
    'for option; do case $have in *,"$option",*) ;; *) echo "$path: no $option"; exit 1;; esac; done; done'
)


def mounts_unit(remount: Mapping[str, Iterable[str]]) -> str:
    """A unit that sets the options at every start, whatever fstab and other units say."""
    commands = [f"ExecStart=/bin/mount -o remount,{','.join(options)} {path}" for path, options in remount.items()]
    return HEADER + "\n".join([
        "[Unit]", "Description=Mount options of what everybody may write to", "DefaultDependencies=no",
        f"RequiresMountsFor={' '.join(remount)}", f"ConditionPathIsMountPoint={next(iter(remount))}",
        "Before=local-fs.target", "Conflicts=umount.target", "Before=umount.target", "",
        "[Service]", "Type=oneshot", "RemainAfterExit=yes", *commands, ""])  # fmt: skip


def tmp_unit(size: str, options: Iterable[str]) -> str:
    """The unit that mounts TMP in memory; `size` as mount(8) takes it."""
    words = [
        "mode=1777",
        "strictatime",
        "nosuid",
        "nodev",
        *(["noexec"] if "noexec" in options else []),
        f"size={size}",
    ]
    return HEADER + "\n".join([
        "[Unit]", f"Description=Temporary directory {TMP}", "ConditionPathIsSymbolicLink=!/tmp",
        f"ConditionPathExists=!{TMP_LATER}",
        "DefaultDependencies=no", "Conflicts=umount.target", "Before=local-fs.target umount.target",
        "After=swap.target", "", "[Mount]", "What=tmpfs", f"Where={TMP}", "Type=tmpfs",
        f"Options={','.join(words)}", ""])  # fmt: skip
