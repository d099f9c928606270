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
            line = f"-{one} = {value}"
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


def policy_trouble(parameters: Iterable[str], lockdown: str, wanted: Mapping, forwarding: str) -> list[str]:
    """What is wrong with the policy, whatever the host."""
    found = [f"kernel_boot_parameters: {one!r} is no parameter of the kernel" for one in parameters
             if not PARAMETER.fullmatch(str(one))]  # fmt: skip
    if lockdown not in LOCKDOWN:
        found.append(f"kernel_lockdown: {lockdown!r} is neither integrity nor confidentiality")
    if forwarding not in ("auto", "keep", "off"):
        found.append(f"kernel_forwarding: {forwarding!r} is none of auto, keep, off")
    for path, options in wanted.items():
        found += [f"kernel_mount_options: {one!r} of {path} is none of {', '.join(MOUNT_OPTIONS)}"
                  for one in options if one not in MOUNT_OPTIONS]  # fmt: skip
    return found


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
) -> dict:
    """The arguments of the confirmed change. The other arguments are the role's variables without their prefix."""
    on, kernel, lockdown = set(controls), survey["kernel"], lockdown or ""
    container = bool(survey["system"]["container"])
    systemd = survey["system"]["init"] == "systemd"
    wanted_mounts = mount_options or {}
    boot_parameters = [str(one) for one in boot_parameters or ()]
    refuse = policy_trouble(boot_parameters, lockdown, wanted_mounts, forwarding)
    notes, active, activate, revert = [], [], [], []
    contents: dict[str, str] = dict.fromkeys(
        (SYSCTL_FILE, MODULES_FILE, LIMITS_FILE, COREDUMP_FILE, APT_FILE, MOUNTS_UNIT, TMP_UNIT, GRUB_FILE), ""
    )
    links = {}

    # parameters
    if not refuse:
        # a helper of the site's, such as systemd's, keeps its place: it obeys the limits
        plain = "kernel.core_dumps" in on and kernel["sysctl"].get("kernel/core_pattern") in ("core", NO_DUMP)
        dumps = {"kernel.core_pattern": NO_DUMP} if plain else {}
        found = parameters(survey, on, forwarding, {**dumps, **(sysctl or {})})
        refuse, notes = found["refuse"], found["notes"]
        if found["lines"]:
            contents[SYSCTL_FILE] = HEADER + "\n".join(found["lines"]) + "\n"
            active.append(in_force(found["live"]))
            activate += [[SYSTEMD_SYSCTL, SYSCTL_FILE], in_force(found["live"])]
        before = {path: kernel["sysctl"][path] for path in found["live"] if path in kernel["sysctl"]}
        old = [f"{path}={value}" for path, value in before.items() if value != found["live"][path]]
        if old:  # some of them hold until the next start, whatever is written
            revert.append(["sh", "-c", 'for one; do sysctl -q -w "$one" 2>/dev/null; done; true', "sh", *old])

    # modules
    unwanted = {**DENIED, **(denied or {})} if "kernel.modules" in on else {}
    if "kernel.image_modules" in on:
        if users := containers(survey) + kernel["needs"]["images"]:
            notes.append(f"overlay and squashfs stay: needed by {', '.join(users)}")
        else:
            unwanted.update(IMAGES)
    gone = modules(survey, {} if container else unwanted, allowed)
    contents[MODULES_FILE] = modules_file(gone["denied"])
    notes += gone["notes"]
    if gone["loaded"]:
        active.append(["sh", "-c", 'for one; do ! grep -q "^$one [0-9]* 0 " /proc/modules || exit; done', "sh",
                       *gone["loaded"]])  # fmt: skip
        activate.append(["sh", "-c", 'for one; do modprobe -r "$one" 2>/dev/null; done; true', "sh", *gone["loaded"]])
        revert.append(["sh", "-c", 'for one; do modprobe "$one"; done; true', "sh", *gone["loaded"]])

    # core dumps
    if "kernel.core_dumps" in on:
        contents[LIMITS_FILE] = HEADER + "* hard core 0\nroot hard core 0\n"
        contents[COREDUMP_FILE] = HEADER + "[Coredump]\nStorage=none\nProcessSizeMax=0\n"

    # mounts
    wanted_mounts = {**wanted_mounts} if "kernel.mounts" in on and not container and systemd else {}
    if VAR in wanted_mounts and kernel["needs"]["roots"] and VAR in kernel["mounts"]:
        wanted_mounts.pop(VAR)
        notes.append(f"{VAR} is left as it is: other systems are in it ({kernel['needs']['roots'][0]})")
    tmp_options = list(wanted_mounts.get(TMP, ()))
    in_memory = bool(tmpfs and wanted_mounts) and (TMP not in kernel["mounts"] or kernel["tmp_ours"])
    if "noexec" in tmp_options and (in_memory or TMP in kernel["mounts"]):
        contents[APT_FILE] = HEADER.replace("#", "//") + 'APT::ExtractTemplates::TempDir "/var/cache/debconf";\n'
    if in_memory:  # with its options in the unit that mounts it
        wanted_mounts.pop(TMP, None)
        contents[TMP_UNIT] = tmp_unit(tmpfs, tmp_options)
        links[TMP_WANTED] = TMP_UNIT
        if TMP not in kernel["mounts"]:
            # else it is mounted with the next service that starts, over the files of programs that run
            activate.append(["install", "-D", "/dev/null", TMP_LATER])
            notes.append(f"{TMP} is a file system of its own from the next start on; what is in it now is hidden then")
    shared = mounts(survey, wanted_mounts)
    if shared["remount"]:
        contents[MOUNTS_UNIT] = mounts_unit(shared["remount"])
        links[MOUNTS_WANTED] = MOUNTS_UNIT
        active.append(["sh", "-c", MOUNTED, "sh", *(f"{path} {' '.join(options)}"
                                                    for path, options in shared["remount"].items())])  # fmt: skip
        activate += [["systemctl", "daemon-reload"], ["systemctl", "restart", os.path.basename(MOUNTS_UNIT)]]
        revert += [["mount", "-o", ",".join(["remount", *(OPPOSITE[one] for one in options)]), path]
                   for path, options in shared["missing"].items()]  # fmt: skip

    # how the kernel is started
    words = boot_parameters + ([f"lockdown={lockdown}"] if lockdown else [])
    if "kernel.boot" in on and words and not container:
        if not kernel["boot"]["grub"]:
            refuse.append("kernel_boot_parameters: this host is not started by GRUB as far as /etc/default/grub tells")
        if lockdown and kernel["needs"]["dkms"]:
            refuse.append(
                f"kernel_lockdown: modules built on this host ({', '.join(kernel['needs']['dkms'])}) are signed by "
                "nobody and would not be loaded any more"
            )
        contents[GRUB_FILE] = f'{HEADER}GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {" ".join(words)}"\n'
        pending = [word for word in words if word not in kernel["boot"]["command_line"]]
        if pending:
            notes.append(f"take effect at the next start: {' '.join(pending)}")
    if kernel["boot"]["grub"] and (contents[GRUB_FILE] or kernel["boot"]["ours"]):
        update = ["sh", "-c", "update-grub 2>&1"]
        holds = " && ".join(f"grep -q -- '^[[:space:]]*linux.* {word}' /boot/grub/grub.cfg" for word in words)
        if contents[GRUB_FILE]:
            active.append(["sh", "-c", holds])
        activate.append(update)
        revert.append(update)

    # AppArmor
    armor = kernel["apparmor"]
    if "kernel.apparmor_enforce" in on and armor["enabled"] and not container:
        for path, text in armor["files"].items():
            contents[path] = re.sub(r"(flags\s*=\s*\()([^)]*)\)", enforcing, text)
        reload = ["sh", "-c", 'for one; do apparmor_parser -r -T -W "$one" || exit; done', "sh",
                  *armor["files"], *forced_files(armor["forced"])]  # fmt: skip
        if armor["files"] or armor["forced"]:
            activate.append(reload)
            revert.append(reload)

    files = [{"path": path, "content": text} for path, text in contents.items() if text]
    files += [{"path": path, "state": "link", "target": target} for path, target in links.items()]
    files += [{"path": path, "state": "absent"} for path in (MOUNTS_WANTED, TMP_WANTED) if path not in links]
    files += [{"path": path, "state": "absent"} for path, text in contents.items() if not text]
    if "kernel.apparmor_enforce" in on and not container:
        files += [{"path": path, "state": "absent"} for path in armor["forced"]]
    if systemd:  # the unit undoes nothing by being stopped: what it mounted anew is mounted back above
        revert.insert(0, ["systemctl", "daemon-reload"])
    return {"refuse": refuse, "notes": notes, "files": files, "active": active, "activate": activate, "revert": revert}


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
