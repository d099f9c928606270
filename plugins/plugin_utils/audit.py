# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail of a host, given the policy and what the survey found: nothing here touches a host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ansible_collections.rampart.hardening.plugins.module_utils.survey_audit import (
    AUDITD_CONF,
    DEBSUMS,
    KEEPERS,
    OUR_JOURNALD,
    OUR_LOCK,
    OUR_RSYSLOG,
    OUR_RULES,
)

LOCK = "# Written by the role audit of rampart.hardening. Do not edit: change the inventory.\n-e 2\n"
PASSAGES = "/var/log/rampart/passages.log"  # who went where through a jump server
DIRECTORY = "/etc/rampart/audit"
CA_FILE, CERT_FILE, KEY_FILE = (f"{DIRECTORY}/{name}" for name in ("collector-ca.pem", "client.pem", "client.key"))
AIDE_CONF = f"{DIRECTORY}/aide.conf"
AIDE_DB = "/var/lib/rampart/aide/files.db"
UNITS = "/etc/systemd/system"
AIDE_UNITS = {
    "aide_init": "rampart-aide-init.service",
    "aide_init_timer": "rampart-aide-init.timer",
    "aide_check": "rampart-aide-check.service",
    "aide_timer": "rampart-aide-check.timer",
}
AIDE_TIMERS = [unit for unit in AIDE_UNITS.values() if unit.endswith(".timer")]
AIDE_WANTED = {f"{UNITS}/timers.target.wants/{unit}": f"{UNITS}/{unit}" for unit in AIDE_TIMERS}
# The job writes what differs to the log. Its first comparison need not wait for Sunday
DEBSUMS_HEADER = "# Written by the role audit of rampart.hardening. Do not edit: change the inventory.\n"
DEBSUMS_TEXT = DEBSUMS_HEADER + "CRON_CHECK={}\n"
DEBSUMS_NOW = """
systemd-run --quiet --no-block --collect --nice=19 --property=CPUSchedulingPolicy=idle \
    --property=IOSchedulingClass=idle --property=RuntimeMaxSec=4h sh -c '/etc/cron.weekly/debsums >/dev/null'
"""
# What starts the job on a host without cron
DEBSUMS_UNITS = {
    f"{UNITS}/rampart-debsums.service": f"""{DEBSUMS_HEADER}[Unit]
Description=Compare the files of packages with the packages' sums

[Service]
Type=oneshot
ExecStart=/etc/cron.weekly/debsums
TimeoutStartSec=4h
Nice=19
CPUSchedulingPolicy=idle
IOSchedulingClass=idle
""",
    f"{UNITS}/rampart-debsums.timer": f"""{DEBSUMS_HEADER}[Unit]
Description=Compare the files of packages with the packages' sums every week

[Timer]
OnCalendar=weekly
RandomizedDelaySec=4h
Persistent=true

[Install]
WantedBy=timers.target
""",
}
DEBSUMS_TIMER = f"{UNITS}/rampart-debsums.timer"
DEBSUMS_WANTED = f"{UNITS}/timers.target.wants/rampart-debsums.timer"
DEBSUMS_TIMED = f"""
systemctl daemon-reload
if [ -e {DEBSUMS_TIMER} ]; then
    systemctl start rampart-debsums.timer
else  # a timer whose unit is gone fails as soon as systemd looks
    systemctl stop rampart-debsums.timer 2>/dev/null
    systemctl reset-failed rampart-debsums.timer 2>/dev/null || true
fi
"""
SOURCES = {
    "chrony": "/etc/chrony/sources.d/rampart.sources",
    "systemd-timesyncd": "/etc/systemd/timesyncd.conf.d/rampart.conf",
}
ARCHES = {"x86_64": ["b64", "b32"], "aarch64": ["b64", "b32"], "i686": ["b32"], "armv7l": ["b32"]}
NEW = ("aarch64", "riscv64", "loongarch64")  # 64 bit without the calls that newer ones replaced
# auditd.conf as Debian ships it: what a package that is yet to come would bring, and what the site may have changed
SHIPPED = {
    "local_events": "yes", "write_logs": "yes", "log_file": "/var/log/audit/audit.log", "log_group": "adm",
    "log_format": "ENRICHED", "flush": "INCREMENTAL_ASYNC", "freq": "50", "max_log_file": "8", "num_logs": "5",
    "priority_boost": "4", "name_format": "NONE", "max_log_file_action": "ROTATE", "space_left": "75",
    "space_left_action": "SYSLOG", "verify_email": "yes", "action_mail_acct": "root", "admin_space_left": "50",
    "admin_space_left_action": "SUSPEND", "disk_full_action": "SUSPEND", "disk_error_action": "SUSPEND",
    "use_libwrap": "yes", "tcp_listen_queue": "5", "tcp_max_per_addr": "1", "tcp_client_max_idle": "0",
    "transport": "TCP", "krb5_principal": "auditd", "distribute_network": "no", "q_depth": "2000",
    "overflow_action": "SYSLOG", "max_restarts": "10", "plugin_dir": "/etc/audit/plugins.d",
    "end_of_event_timeout": "2",
}  # fmt: skip
FIXED = {"local_events": "yes", "write_logs": "yes", "log_format": "ENRICHED"}
MOST_LOGS = 999
# What is done when room runs out: ours, and what of the site's stays, because no record is lost by it or it is stricter
ACTIONS = {
    "max_log_file_action": ("ROTATE", ("keep_logs",)),
    "space_left_action": ("SYSLOG", ("email", "exec", "single", "halt", "rotate")),
    "admin_space_left_action": ("SYSLOG", ("email", "exec", "single", "halt", "rotate")),
    "disk_full_action": ("ROTATE", ("exec", "single", "halt")),
    "disk_error_action": ("SYSLOG", ("exec", "single", "halt")),
}
HALTING = {
    "max_log_file_action": "KEEP_LOGS",
    "admin_space_left_action": "SINGLE",
    "disk_full_action": "HALT",
    "disk_error_action": "HALT",
}
STOPPING = ("single", "halt")
FORWARD = ("host", "port", "peer", "ca", "cert", "key", "framing", "queue_mb")
FRAMINGS = ("octet-counted", "traditional")
WORD = re.compile(r"[A-Za-z0-9_.:*-]+")
PEM = re.compile(r"\s*-----BEGIN ")


def number(value: object, least: int) -> int:
    """`value` where it is a larger number than `least`."""
    return max(least, int(str(value))) if str(value).isdigit() else least


def auditd_conf(site: Mapping[str, str], halt: bool, mb: int, logs: int) -> dict[str, str]:
    """auditd.conf: ours where the site's is weaker, else the site's."""
    found = {**SHIPPED, **site, **FIXED}
    found["max_log_file"] = str(number(found["max_log_file"], mb))
    found["num_logs"] = str(min(MOST_LOGS, number(found["num_logs"], logs)))
    if found["flush"].lower() == "none":
        found["flush"] = SHIPPED["flush"]
    for key, (ours, kept) in ACTIONS.items():
        if found[key].split()[:1] and found[key].split()[0].lower() not in kept:
            found[key] = ours
        if halt and key in HALTING and found[key].lower() not in STOPPING:
            found[key] = HALTING[key]
    return found


def journal(survey: Mapping, limit: str, syslog: bool) -> tuple[dict[str, str], list[str], list[str]]:
    """What our drop-in of journald says, what it overrides, and why it would not hold."""
    site = survey["audit"]["journald"]
    wanted = {"Storage": "persistent", "Compress": "yes", "Seal": "yes", "ForwardToSyslog": "yes" if syslog else "no"}
    wanted["SystemMaxUse"] = site.get("SystemMaxUse", {}).get("value") or limit
    overridden, refuse = [], []
    for key, value in wanted.items():
        other = site.get(key)
        if not other or other["value"].lower() in (value.lower(), {"yes": "true", "no": "false"}.get(value)):
            continue
        told = f"{other['file']}:{other['line']} {key}={other['value']}"
        own = other["file"].rpartition("/")[2]
        if other["file"].endswith("/journald.conf") or own < OUR_JOURNALD.rpartition("/")[2]:
            if other["file"].startswith("/etc/"):  # else it is the distribution's
                overridden.append(told)
        else:
            refuse.append(f"{told} comes after our drop-in and wins: take it out, or waive audit.journal")
    return wanted, overridden, refuse


def collector(forward: Mapping, survey: Mapping) -> tuple[dict, list[str]]:
    """The collector with all that goes unsaid, and what is wrong with it; empty where there is none."""
    if not forward:
        return {}, []
    name = "hardening_log_collector"
    refuse = [f"{name} lacks {key}" for key in ("host", "ca") if not forward.get(key)]
    unknown = sorted(set(forward) - set(FORWARD))
    if unknown:
        refuse.append(f"{name}: there is no {', '.join(unknown)}")
    if bool(forward.get("cert")) != bool(forward.get("key")):
        refuse.append(f"{name}: cert and key come together")
    refuse += [f"{name}: {key} is not PEM" for key in ("ca", "cert", "key") if forward.get(key)
               and not PEM.match(str(forward[key]))]  # fmt: skip
    installed = survey["audit"]["installed"]
    to = {
        "host": str(forward.get("host") or ""),
        "port": forward.get("port") or 6514,
        "peer": str(forward.get("peer") or forward.get("host") or ""),
        "framing": forward.get("framing") or FRAMINGS[0],
        "queue_mb": forward.get("queue_mb") or 1024,
        "driver": "ossl" if "rsyslog-openssl" in installed and "rsyslog-gnutls" not in installed else "gtls",
        "ca_file": CA_FILE,
        "cert_file": CERT_FILE if forward.get("cert") else "",
        "key_file": KEY_FILE if forward.get("cert") else "",
        **{key: str(forward.get(key) or "").strip() + "\n" for key in ("ca", "cert", "key")},
    }
    if to["framing"] not in FRAMINGS:
        refuse.append(f"{name}: framing is one of {', '.join(FRAMINGS)}")
    refuse += [f"{name}: {key} is no name" for key in ("host", "peer") if to[key] and not WORD.fullmatch(to[key])]
    refuse += [f"{name}: {key} is no number" for key in ("port", "queue_mb") if not str(to[key]).isdigit()]
    if "syslog-ng" in installed:
        refuse.append("syslog-ng writes this host's logs: let it forward them, and leave hardening_log_collector out")
    return to, refuse


def plan(
    survey: Mapping,
    controls: Iterable[str] = (),
    forward: Mapping | None = None,
    halt: bool = False,
    log_file_mb: int = 32,
    log_files: int = 10,
    journal_max: str = "1G",
    time_servers: Iterable[str] = (),
    aide: bool = False,
    jump: bool = False,
) -> dict:
    """What the templates need to know; under `refuse` why the host must be left alone. `jump` is a jump server."""
    seen, controls = survey["audit"], set(controls)
    installed, container = set(seen["installed"]), bool(survey["system"]["container"])
    audited = "audit.auditd" in controls and seen["kernel"] is not None
    to, refuse = collector((forward or {}) if "audit.forwarding" in controls else {}, survey)
    notes: list[str] = []
    syslog = (bool(installed & {"rsyslog", "syslog-ng"}) or bool(to)) and "imjournal" not in seen["rsyslog"]["modules"]
    settings, overridden, stands = journal(survey, journal_max, syslog)
    if "audit.journal" in controls:
        notes += overridden
        refuse += stands
    notes = [f"overrides {one}" for one in notes]
    rsyslog = bool(to) or ("audit.log_permissions" in controls and "rsyslog" in installed)
    if "audit.log_permissions" in controls:
        refuse += [
            f"{one['file']}:{one['line']} lets rsyslog make files with the mode {one['mode']}: make it 0640 or less, "
            "or waive audit.log_permissions"
            for one in seen["rsyslog"]["modes"]
            if int(one["mode"], 8) & ~0o640 and one["file"] > OUR_RSYSLOG
        ]
    clock = "audit.clock" in controls and not container
    keepers = [name for name in KEEPERS if name in installed]
    keeper = ([name for name in keepers if name in seen["running"]] + keepers + ["chrony"])[0]
    servers = [str(one) for one in time_servers]
    refuse += [f"hardening_time_servers: {one!r} is no name" for one in servers if not WORD.fullmatch(one)]
    own_aide = (aide or "audit.file_integrity" in controls) and not seen["aide"]
    compared, often = "audit.package_files" in controls, seen["debsums"]["check"]
    check = ""  # what is to be said of it; a site's own stays where it is as strict
    timed = compared and "cron" not in installed
    if compared and (often not in ("daily", "weekly") or (timed and often != "weekly")):
        check = "weekly"
    elif not compared and seen["debsums"]["ours"]:
        check = "never"
    conf = auditd_conf(seen["auditd"], halt, log_file_mb, log_files)
    if audited and not halt and any(conf[key].split()[0].lower() in STOPPING for key in ACTIONS):
        notes.append(f"{AUDITD_CONF}: this site has a full disk stop the host, which stays so")
    locked = audited and seen["kernel"]["enabled"] == 2
    lock = audited and "audit.immutable" in controls
    if locked:
        notes.append("the kernel's audit rules are locked: what differs in them takes effect at the next boot")
    elif lock:
        notes.append("the kernel's audit rules are locked from the next boot on")
    wanted = {"auditd": audited, "rsyslog": bool(to), keeper: clock, "aide": own_aide}
    wanted["debsums"] = compared
    wanted["rsyslog-openssl" if to.get("driver") == "ossl" else "rsyslog-gnutls"] = bool(to)
    follow = [["audit", conf["log_file"]]] if audited or "auditd" in installed else []
    follow += [["passages", PASSAGES]] if jump else []
    exists = seen["exists"]
    return {
        "refuse": refuse,
        "notes": notes,
        "packages": sorted(name for name, on in wanted.items() if on and name not in installed),
        "audited": audited,
        "rules": audited and "audit.rules" in controls,
        "full_disk": audited and "audit.full_disk" in controls,
        "lock": lock,
        "locked": locked,
        "auditd": conf,
        "arches": ARCHES.get(seen["machine"], ["b64"]),
        "new": ["b64"] if seen["machine"] in NEW else [],
        "uid_min": seen["uid_min"],
        "clock_users": sorted({*seen["clock_users"], *(["_chrony"] if clock and keeper == "chrony" else [])}),
        "privileged": [path for path in seen["privileged"] if path not in exists],
        "network": [path for path in exists if re.match(r"/etc/(net|Net|systemd/network)", path)],
        "identity": [path for path in exists if path in ("/etc/pam.conf", "/etc/security")],
        "mac": [path for path in exists if re.match(r"/etc/(apparmor|selinux)", path)],
        "changers": [[path, CHANGERS[path]] for path in exists if path in CHANGERS],
        # Debian 12's journald turns the kernel's audit off whenever it starts, unless it is told to leave it alone
        "journald": {**(settings if "audit.journal" in controls else {}), **({"Audit": ""} if audited else {})},
        "sudo_log": seen["sudo_log"],
        "rsyslog": rsyslog,
        "follow": follow,
        "imfile": "imfile" not in seen["rsyslog"]["modules"],
        "forward": to,
        "clock": keeper if clock else "",
        "servers": servers if clock else [],
        "aide": own_aide,
        "debsums": check,
        "debsums_timer": timed,
    }


CHANGERS = {
    "/usr/bin/chcon": "perm_chng",
    "/usr/bin/setfacl": "perm_chng",
    "/usr/bin/chacl": "perm_chng",
    "/usr/sbin/usermod": "usermod",
    "/usr/bin/kmod": "kernel_modules",
}


# --- the whole change

# Starting what runs already would start what it requires once more, and that loads the lock
START = "systemctl is-active --quiet auditd.service || systemctl start auditd.service"
ENABLED = "auditctl -s | grep -q '^enabled [12]$'"
MERGE = """
command -v augenrules >/dev/null || exit 0
auditctl -s | grep -qx 'enabled 2' && exit 0
augenrules >/dev/null
whole=$(mktemp) && trap 'rm -f "$whole"' EXIT
grep -v '^ *-e' /etc/audit/audit.rules >"$whole"
auditctl -R "$whole" >/dev/null 2>&1
systemctl kill --kill-whom=main --signal=HUP auditd.service
[ $# = 0 ] || auditctl -e 1 >/dev/null
"""
AIDE = f"""
systemctl daemon-reload
if [ -e {UNITS}/{AIDE_UNITS["aide_timer"]} ]; then
    [ {AIDE_CONF} -ot {AIDE_DB} ] || rm -f {AIDE_DB}
    systemctl start {" ".join(AIDE_TIMERS)} && systemctl start --no-block {AIDE_UNITS["aide_init"]}
else
    systemctl stop {" ".join(AIDE_UNITS.values())} 2>/dev/null
    systemctl reset-failed {" ".join(AIDE_UNITS.values())} 2>/dev/null
    rm -f {AIDE_DB} {AIDE_DB}.new
fi
"""
AIDE_LIVE = (
    f"systemctl is-active --quiet {AIDE_UNITS['aide_timer']} || exit; "
    f"[ -e {AIDE_DB} ] || systemctl is-active {AIDE_UNITS['aide_init']} | grep -qx activating"
)
PERSISTENT = 'set -- /var/log/journal/*/system.journal; [ -e "$1" ]'


def change(survey: Mapping, plan: Mapping, contents: Mapping[str, str], loaded: str = "") -> dict:
    """The arguments of the confirmed change. `contents` are the rendered files, `loaded` tries the kernel's rules."""
    files: list[dict] = []
    validate, active, activate, revert = [], [], [], []
    gone = [OUR_LOCK, OUR_RULES, OUR_JOURNALD, OUR_RSYSLOG, CA_FILE, CERT_FILE, KEY_FILE]
    gone += [DEBSUMS_WANTED, *DEBSUMS_UNITS]
    gone += [*AIDE_WANTED, *(f"{UNITS}/{unit}" for unit in AIDE_UNITS.values()), AIDE_CONF, *SOURCES.values()]
    installed = survey["audit"]["installed"]
    if plan["journald"]:
        files.append({"path": OUR_JOURNALD, "content": contents["journald"]})
        restart = [["systemctl", "restart", "systemd-journald.service"], ["journalctl", "--flush"]]
        active += [["sh", "-c", PERSISTENT]] if "Storage" in plan["journald"] else []
        activate += restart
        revert += restart
    if plan["full_disk"]:
        files.append({"path": AUDITD_CONF, "content": contents["auditd"], "mode": "0640"})
    if plan["rules"]:
        files.append({"path": OUR_RULES, "content": contents["rules"], "mode": "0640"})
    if plan["lock"]:
        files.append({"path": OUR_LOCK, "content": LOCK, "mode": "0640"})
    if plan["audited"]:
        merge = ["sh", "-c", MERGE]
        running = [["systemctl", *words, "--quiet", "auditd.service"] for words in (["is-enabled"], ["is-active"])]
        active += [*running, ["sh", "-c", ENABLED]]
        activate += [["systemctl", "enable", "--quiet", "auditd.service"], ["sh", "-c", START], [*merge, "sh", "on"]]
        revert.append(merge)
        if plan["rules"]:
            active.append(["python3", "-I", "-c", loaded, OUR_RULES])
            activate.append(active[-1])
    to = plan["forward"]
    if to:
        files.append({"path": CA_FILE, "content": to["ca"]})
        if to["cert_file"]:
            files.append({"path": CERT_FILE, "content": to["cert"]})
            files.append({"path": KEY_FILE, "content": to["key"], "mode": "0600", "sensitive": True})
    if plan["rsyslog"]:
        files.append({"path": OUR_RSYSLOG, "content": contents["rsyslog"]})
        validate.append(["rsyslogd", "-N1"])
        active.append(["systemctl", "is-active", "--quiet", "rsyslog.service"])
        activate.append(["systemctl", "restart", "rsyslog.service"])
        revert.append(activate[-1])
    if plan["clock"]:
        keeper = plan["clock"]
        unit = f"{keeper}.service"
        told = keeper in SOURCES and plan["servers"]
        if keeper == "chrony" and told:
            files.append({"path": SOURCES[keeper], "content": "".join(f"server {one} iburst\n" for one in told)})
        elif told:
            files.append({"path": SOURCES[keeper], "content": f"[Time]\nNTP={' '.join(told)}\n"})
        active += [["systemctl", "is-active", "--quiet", unit], ["systemctl", "is-enabled", "--quiet", unit]]
        activate.append(["systemctl", "enable", "--quiet", unit])
        activate.append(["systemctl", "restart", unit])
        revert.append(activate[-1])
    if plan["aide"]:
        files.append({"path": AIDE_DB.rpartition("/")[0], "state": "directory", "mode": "0700"})
        files.append({"path": AIDE_CONF, "content": contents["aide"], "mode": "0600",
                      "validate": ["aide", "--config", "%s", "--config-check"]})  # fmt: skip
        files += [{"path": f"{UNITS}/{unit}", "content": contents[key]} for key, unit in AIDE_UNITS.items()]
        files += [{"path": path, "state": "link", "target": unit} for path, unit in AIDE_WANTED.items()]
        active.append(["sh", "-c", AIDE_LIVE])
    if plan["aide"] or "aide" in installed:
        activate.append(["sh", "-c", AIDE])
        revert.append(activate[-1])
    if plan["debsums"]:
        files.append({"path": DEBSUMS, "content": DEBSUMS_TEXT.format(plan["debsums"])})
        activate += [["sh", "-c", DEBSUMS_NOW]] if plan["debsums"] == "weekly" else []
    if plan["debsums_timer"]:
        files += [{"path": path, "content": text} for path, text in DEBSUMS_UNITS.items()]
        files.append({"path": DEBSUMS_WANTED, "state": "link", "target": DEBSUMS_TIMER})
        active.append(["systemctl", "is-active", "--quiet", "rampart-debsums.timer"])
    if plan["debsums_timer"] or survey["audit"]["debsums"]["timer"]:
        activate.append(["sh", "-c", DEBSUMS_TIMED])
        revert.append(activate[-1])
    kept = {entry["path"] for entry in files}
    files += [{"path": path, "state": "absent", "sensitive": path == KEY_FILE} for path in gone if path not in kept]
    systemd = survey["system"]["init"] == "systemd"
    return {
        "refuse": plan["refuse"],
        "notes": plan["notes"],
        "files": files,
        "validate": validate,
        "active": active if systemd else [],
        "activate": activate if systemd else [],
        "revert": revert if systemd else [],
    }
