#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: survey
short_description: Read what roles and preflight need to know of a host, in one round trip
version_added: "0.1.0"
author: The rampart authors (@rampart-hardening)
description:
  - Reads the live state of a host (accounts, SSH server, firewall, second factors, kernel, services, how we
    are connected) and changes nothing.
  - Returns no secrets; of a password only whether there is one.
options: {}
attributes:
  check_mode:
    description: Only reads.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
'''

EXAMPLES = r'''
- name: Look at the host
  rampart.hardening.survey:
'''

RETURN = r'''
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    rampart_survey:
      description: What was seen; one part for each concern, and C(system).
      type: dict
      returned: always
'''

import ipaddress
import json
import os
import platform
import subprocess
import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils import (
    survey_accounts,
    survey_audit,
    survey_cloud,
    survey_fail2ban,
    survey_firewall,
    survey_kernel,
    survey_login,
    survey_mfa,
    survey_services,
    survey_ssh,
)

PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
FAMILIES = {'debian': 'Debian', 'ubuntu': 'Debian', 'rhel': 'RedHat', 'fedora': 'RedHat', 'centos': 'RedHat'}


def run(argv):
    """Run `argv`; (rc, stdout, stderr), rc 127 where there is no such program and 124 after 30 seconds."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
                              env=dict(os.environ, PATH=PATH, LC_ALL='C'))
    except (FileNotFoundError, PermissionError) as exc:
        return 127, '', str(exc)
    except subprocess.TimeoutExpired:
        return 124, '', 'no answer within 30 seconds'
    return done.returncode, done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace')


def os_release():
    """/etc/os-release as a dict."""
    found = {}
    try:
        with open('/etc/os-release', encoding='utf-8') as handle:
            for line in handle:
                key, equals, value = line.strip().partition('=')
                if equals:
                    found[key] = value.strip('"\'')
    except OSError:
        pass
    return found


def connection():
    """How this process was reached over SSH: {user, client, port, server}; empty where it was not.

    sudo hides SSH_CONNECTION unless our sudoers drop-in is there already: then the processes above us are asked.
    """
    pid = os.getpid()
    for _generation in range(20):
        try:
            with open(f'/proc/{pid}/environ', 'rb') as handle:
                environ = dict(part.partition(b'=')[::2] for part in handle.read().split(b'\0'))
            with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as handle:
                parent = int(handle.read().rpartition(')')[2].split()[1])
        except (OSError, ValueError, IndexError):
            return {}  # a container may forbid even root to look into another user's processes
        words = environ.get(b'SSH_CONNECTION', b'').decode(errors='replace').split()
        if len(words) == 4:
            user = environ.get(b'SUDO_USER') or environ.get(b'USER', b'')
            return {'user': user.decode(errors='replace'), 'client': words[0].partition('%')[0],
                    'server': words[2].partition('%')[0], 'port': int(words[3])}
        if parent <= 1:
            return {}
        pid = parent
    return {}


def addresses():
    """The host's own addresses, loopback and link-local ones left out."""
    rc, out, dummy = run(['ip', '-j', 'address'])
    try:
        links = json.loads(out) if rc == 0 else []
    except ValueError:
        links = []
    found = [info['local'] for link in links for info in link.get('addr_info', []) if info.get('local')]
    outside = [ipaddress.ip_address(item) for item in found]
    return [str(item) for item in outside if not (item.is_loopback or item.is_link_local)]


def system():
    """Distribution, init, container or not, and the connection."""
    release = os_release()
    likes = [release.get('ID', '')] + release.get('ID_LIKE', '').split()
    rc, virtual, dummy = run(['systemd-detect-virt', '--container'])
    container = virtual.strip() if rc == 0 else 'podman' if os.path.exists('/run/.containerenv') else ''
    return {
        'distribution': release.get('ID', ''), 'version': release.get('VERSION_ID', ''),
        'name': release.get('PRETTY_NAME', ''), 'os_family': next((FAMILIES[i] for i in likes if i in FAMILIES), ''),
        'kernel': platform.release(), 'hostname': platform.node(), 'python': sys.version.split()[0],
        'container': container, 'init': 'systemd' if os.path.isdir('/run/systemd/system') else 'none',
        'connection': connection(), 'addresses': addresses(),
    }


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, ansible_facts={'rampart_survey': {
        'system': system(), 'accounts': survey_accounts.collect(run), 'ssh': survey_ssh.collect(run),
        'firewall': survey_firewall.collect(run), 'mfa': survey_mfa.collect(), 'kernel': survey_kernel.collect(run),
        'login': survey_login.collect(), 'services': survey_services.collect(run),
        'audit': survey_audit.collect(run), 'cloud': survey_cloud.collect(),
        'fail2ban': survey_fail2ban.collect(run)}})


if __name__ == '__main__':
    main()
