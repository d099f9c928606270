# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel role has to know of a host: its kernel as it is set, and what needs it so. Reads only."""
from __future__ import annotations

import contextlib
import glob
import os
import re

SYSCTL = '/proc/sys'
OURS = 'zz-rampart.conf'  # sorts after what a site names 99-…
# Where later names win, and of one name the first directory (sysctl.d(5))
DIRECTORIES = ('/etc/sysctl.d', '/run/sysctl.d', '/usr/local/lib/sysctl.d', '/usr/lib/sysctl.d', '/lib/sysctl.d')
# What a parameter should be (`*` stands for every interface), and which side of that is stricter still
WANTED = (
    ('kernel.network', 'net.ipv4.conf.*.accept_redirects', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.secure_redirects', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.send_redirects', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.accept_source_route', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.rp_filter', '1', ''),
    ('kernel.network', 'net.ipv4.conf.*.log_martians', '1', ''),
    ('kernel.network', 'net.ipv4.conf.*.accept_local', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.route_localnet', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.proxy_arp', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.bootp_relay', '0', ''),
    ('kernel.network', 'net.ipv4.conf.*.shared_media', '0', ''),
    ('kernel.network', 'net.ipv4.icmp_echo_ignore_broadcasts', '1', ''),
    ('kernel.network', 'net.ipv4.icmp_ignore_bogus_error_responses', '1', ''),
    ('kernel.network', 'net.ipv4.tcp_syncookies', '1', 'high'),
    ('kernel.network', 'net.ipv4.tcp_rfc1337', '1', ''),
    ('kernel.network', 'net.ipv6.conf.*.accept_redirects', '0', ''),
    ('kernel.network', 'net.ipv6.conf.*.accept_source_route', '0', 'low'),
    ('kernel.router_advertisements', 'net.ipv6.conf.*.accept_ra', '0', ''),
    ('kernel.router_advertisements', 'net.ipv6.conf.*.autoconf', '0', ''),
    ('kernel.router_advertisements', 'net.ipv6.conf.*.max_addresses', '1', ''),
    ('kernel.router_advertisements', 'net.ipv6.conf.*.router_solicitations', '0', ''),
    ('kernel.router_advertisements', 'net.ipv6.conf.*.accept_ra_defrtr', '0', ''),
    ('kernel.router_advertisements', 'net.ipv6.conf.*.accept_ra_pinfo', '0', ''),
    ('kernel.router_advertisements', 'net.ipv6.conf.*.accept_ra_rtr_pref', '0', ''),
    ('kernel.forwarding', 'net.ipv4.ip_forward', '0', ''),
    ('kernel.forwarding', 'net.ipv6.conf.*.forwarding', '0', ''),
    ('kernel.memory', 'kernel.randomize_va_space', '2', 'high'),
    ('kernel.memory', 'kernel.kptr_restrict', '2', 'high'),
    ('kernel.memory', 'kernel.dmesg_restrict', '1', 'high'),
    ('kernel.memory', 'kernel.perf_event_paranoid', '3', 'high'),
    ('kernel.memory', 'vm.mmap_min_addr', '65536', 'high'),
    ('kernel.memory', 'vm.unprivileged_userfaultfd', '0', 'low'),
    ('kernel.memory', 'dev.tty.ldisc_autoload', '0', 'low'),
    ('kernel.files', 'fs.protected_symlinks', '1', 'high'),
    ('kernel.files', 'fs.protected_hardlinks', '1', 'high'),
    ('kernel.files', 'fs.protected_fifos', '2', 'high'),
    ('kernel.files', 'fs.protected_regular', '2', 'high'),
    ('kernel.ptrace', 'kernel.yama.ptrace_scope', '1', 'high'),
    ('kernel.bpf', 'kernel.unprivileged_bpf_disabled', '1', ''),
    ('kernel.bpf', 'net.core.bpf_jit_harden', '2', 'high'),
    ('kernel.kexec', 'kernel.kexec_load_disabled', '1', 'high'),
    # in this order: the rate cannot be set while the share is 0 or 100
    ('kernel.perf', 'kernel.perf_cpu_time_max_percent', '1', ''),
    ('kernel.perf', 'kernel.perf_event_max_sample_rate', '1', ''),
    ('kernel.sysrq', 'kernel.sysrq', '0', 'low'),
    ('kernel.user_namespaces', 'kernel.unprivileged_userns_clone', '0', 'low'),
    ('kernel.core_dumps', 'fs.suid_dumpable', '0', 'low'),
    ('kernel.core_dumps', 'kernel.core_uses_pid', '1', 'high'),
)
# Programs that make a sandbox of their own for whoever starts them
SANDBOXES = {'bubblewrap': '/usr/bin/bwrap', 'flatpak': '/usr/bin/flatpak', 'chromium': '/usr/bin/chromium',
             'firejail': '/usr/bin/firejail', 'apptainer': '/usr/bin/apptainer'}
# What mounts images or layers of them, besides container engines: snaps, live systems, chroots, system extensions
IMAGES = ('/usr/bin/snap', '/var/lib/snapd', '/run/live', '/run/casper', '/etc/overlayroot.conf', '/etc/schroot',
          '/ostree', '/usr/bin/buildah', '/usr/bin/nerdctl', '/etc/extensions', '/var/lib/extensions/*',
          '/run/extensions/*')
# Systems below /var: what is set-id or a device in them has to work
ROOTS = ('/var/lib/lxc/*/rootfs', '/var/lib/machines/*', '/var/lib/incus', '/var/lib/lxd', '/var/lib/docker/vfs',
         '/var/lib/schroot/chroots/*', '/var/cache/pbuilder/*', '/var/*/dev/null', '/var/*/*/dev/null',
         '/var/*/*/*/dev/null')
BALANCERS = ('/etc/keepalived', '/etc/ha.d', '/usr/sbin/ipvsadm', '/usr/sbin/ldirectord', '/usr/sbin/pppd')
CRASH_DUMPS = ('/etc/default/kdump-tools', '/etc/kdump.conf')
RTF_DEFAULT_BY_ADVERTISEMENT = 0x00040000
FORCE_COMPLAIN = '/etc/apparmor.d/force-complain'


def read(path):
    """The text of the file `path`, stripped; None where it cannot be read."""
    try:
        with open(path, encoding='utf-8', errors='replace') as handle:
            return handle.read().strip()
    except (OSError, ValueError):
        return None


def lines(path):
    return (read(path) or '').splitlines()


def sysctl_path(key):
    """The path below /proc/sys of a sysctl name; where the first separator is a dot, dots and slashes change places."""
    first = re.search(r'[./]', key)
    if first and first.group() == '.':
        return key.translate(str.maketrans('./', '/.'))
    return key


def wired():
    """The interfaces that stay: all, default, lo and those of hardware; containers' come and go."""
    found = [os.path.basename(os.path.dirname(path)) for path in sorted(glob.glob('/sys/class/net/*/device'))]
    return ['all', 'default', 'lo'] + found


def sysctls():
    """{path below /proc/sys: its value}, of those wanted parameters that this kernel has."""
    found = {'kernel/core_pattern': read(f'{SYSCTL}/kernel/core_pattern') or ''}
    for wanted in WANTED:
        path = sysctl_path(wanted[1])
        for one in [path.replace('*', name) for name in wired()] if '*' in path else [path]:
            value = read(f'{SYSCTL}/{one}')
            if value is not None:
                found[one] = value
    return found


def sysctl_files():
    """What the configuration says in the order in which it counts: [{file, line, key, value}], ours left out."""
    chosen = {}
    for directory in DIRECTORIES:
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if name.endswith('.conf'):
                    chosen.setdefault(name, f'{directory}/{name}')
    chosen.pop(OURS, None)
    paths = [chosen[name] for name in sorted(chosen)]
    # procps reads it at last, systemd only by a link
    if '/etc/sysctl.conf' not in [os.path.realpath(path) for path in paths]:
        paths.append('/etc/sysctl.conf')
    if re.search(r'(?m)^ENABLED=yes', read('/etc/ufw/ufw.conf') or ''):
        paths.append('/etc/ufw/sysctl.conf')
    found = []
    for path in paths:
        for number, line in enumerate(lines(path), 1):
            key, equals, value = line.partition('=')
            key = key.strip()
            if equals and key and key[0] not in '#;':
                key = sysctl_path(key[1:].strip() if key.startswith('-') else key)
                found.append({'file': path, 'line': number, 'key': key, 'value': ' '.join(value.split())})
    return found


def routes():
    """{advertised: whether a default route came by advertisement, uneven: whether there are several}."""
    advertised = False
    for line in lines('/proc/net/ipv6_route'):
        fields = line.split()
        if len(fields) > 9 and fields[1] == '00' and int(fields[8], 16) & RTF_DEFAULT_BY_ADVERTISEMENT:
            advertised = True
    through = {line.split()[0] for line in lines('/proc/net/route')[1:] if line.split()[1:2] == ['00000000']}
    return {'advertised': advertised, 'uneven': len(through) > 1}


def rules(run):
    """Whether the site routes by rules of its own (ip rule), beyond the three that every host has."""
    rc, out, dummy = run(['ip', '-4', 'rule', 'show'])
    return rc == 0 and len(out.splitlines()) > 3


def mounts():
    """{path: its options}, of mounts near the root; the last one on a path counts."""
    found = {}
    for line in lines('/proc/self/mountinfo'):
        fields = line.split()
        if len(fields) > 5 and fields[4].count('/') <= 3:
            found[fields[4]] = fields[5].split(',')
    return found


def modules():
    """Loaded modules: {name: how often used}, the name with underscores."""
    return {line.split()[0]: int(line.split()[2]) for line in lines('/proc/modules') if len(line.split()) > 2}


def filesystems():
    """The types of all that is mounted or listed in fstab."""
    found = {line.split()[2] for line in lines('/proc/mounts') + lines('/etc/fstab')
             if len(line.split()) > 2 and not line.startswith('#')}
    return sorted(found)


def apparmor():
    """{enabled, complain: [profile], files: {path: text} that say so, forced: [link] that do}."""
    base = '/sys/kernel/security/apparmor/profiles'
    pairs = [line.rpartition(' ')[::2] for line in lines(base)]
    complain = sorted(name for name, mode in pairs if mode == '(complain)')
    files = {}
    for path in sorted(glob.glob('/etc/apparmor.d/*')) if complain else []:
        text = read(path) if os.path.isfile(path) and not os.path.islink(path) else None
        if text and re.search(r'flags\s*=\s*\([^)]*\bcomplain\b', text):
            with open(path, encoding='utf-8', errors='surrogateescape') as handle:
                files[path] = handle.read()
    forced = sorted(glob.glob(FORCE_COMPLAIN + '/*'))
    return {'enabled': read('/sys/module/apparmor/parameters/enabled') == 'Y', 'complain': complain, 'files': files,
            'forced': forced}


def needs():
    """What needs what we would take away: {sandboxes, crash_dumps, images, balancers, roots, dkms, azure}."""
    def there(patterns):
        return [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    return {'sandboxes': [name for name, path in SANDBOXES.items() if os.path.exists(path)],
            'crash_dumps': there(CRASH_DUMPS), 'images': there(IMAGES), 'balancers': there(BALANCERS),
            'roots': there(ROOTS)[:3] if os.path.ismount('/var') else [],
            'dkms': sorted({path.split('/')[4] for path in glob.glob('/var/lib/dkms/*/*/source')}),
            'azure': os.path.exists('/var/lib/waagent')}


def boot():
    """How the kernel was started: {ours, command_line: [word], grub: whether GRUB's directory for drop-ins serves}."""
    grub = os.path.exists('/etc/default/grub') and any(
        os.path.exists(path) for path in ('/usr/sbin/update-grub', '/usr/sbin/grub-mkconfig'))
    return {'ours': any(map(os.path.exists, ('/etc/default/grub.d/zz-rampart.cfg', '/etc/grub.d/01_rampart'))),
            'command_line': (read('/proc/cmdline') or '').split(), 'grub': grub}


def usb():
    """{bus: whether there is one, guard: whether USBGuard is installed, guarded: whether it runs, default: what the
    kernel does with a device that comes}."""
    buses = sorted(glob.glob('/sys/bus/usb/devices/usb*/authorized_default'))
    return {'bus': bool(buses), 'guard': os.path.exists('/usr/sbin/usbguard-daemon'),
            'guarded': os.path.exists('/run/usbguard.pid'), 'default': read(buses[0]) if buses else ''}


def collect(run):
    """The survey's `kernel`; see the functions above for its parts."""
    return {'writable': os.access(f'{SYSCTL}/kernel/randomize_va_space', os.W_OK), 'sysctl': sysctls(),
            'files': sysctl_files(), 'routes': dict(routes(), rules=rules(run)), 'mounts': mounts(),
            'modules': modules(), 'filesystems': filesystems(), 'apparmor': apparmor(), 'needs': needs(),
            'boot': boot(), 'usb': usb(),
            'tmp_ours': os.path.exists('/etc/systemd/system/local-fs.target.wants/tmp.mount')}
