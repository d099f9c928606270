# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would end access to a host, said before anything is changed. Pure: policy and survey in, sentences out."""
from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping

KEY_TYPES = ('ssh-ed25519', 'sk-ssh-ed25519@openssh.com', 'ssh-rsa', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384',
             'ecdsa-sha2-nistp521', 'sk-ecdsa-sha2-nistp256@openssh.com')


def key_trouble(line: object) -> str | None:
    """What is wrong with one line of authorized_keys; None where nothing is. Options before the key are allowed."""
    words = str(line).split()
    for position, word in enumerate(words):
        if word in KEY_TYPES:
            try:
                blob = base64.b64decode(words[position + 1], validate=True)
            except (IndexError, ValueError):
                return 'the key is cut off or damaged'
            fields = []
            while blob:  # length and content, again and again
                end = 4 + int.from_bytes(blob[:4], 'big')
                fields.append(blob[4:end])
                if len(blob) < end:
                    return 'the key is cut off or damaged'
                blob = blob[end:]
            inner = fields[0].decode('ascii', 'replace') if fields else ''
            if inner == word and len(fields) < 2:
                return 'the key is cut off or damaged'
            return None if inner == word else f'the key says {word} and is {inner!r}'
    return 'no key type that the SSH server accepts (ssh-ed25519, ssh-rsa, ecdsa-sha2-…, sk-…)'


def usable_keys(account: Mapping) -> list[str]:
    """The keys of an account of the policy that could log it in."""
    keys = account.get('ssh_keys')
    return [key for key in keys if key_trouble(key) is None] if isinstance(keys, (list, tuple)) else []


def system_trouble(system: Mapping) -> list[str]:
    """Refusals about the kind of system."""
    if system.get('os_family') == 'Debian':
        return []
    name = system.get('name') or system.get('distribution') or 'unknown'
    return [f'this system ({name}) is not one that these roles know; they know Debian and what derives from it']


def accounts_trouble(policy: Mapping, connected: str) -> list[str]:
    """Refusals about people and about the automation account."""
    found = []
    admins = policy['admins'] if isinstance(policy['admins'], list) else []
    automation = policy['automation'] if isinstance(policy['automation'], Mapping) else {}
    for what, account in [('hardening_admins', admin) for admin in admins] + [('hardening_automation', automation)]:
        for key in (account.get('ssh_keys') or []) if isinstance(account, Mapping) else []:
            trouble = key_trouble(key)
            if trouble:
                found.append(f'{what}: {account.get("name", "(no name)")} has a key that cannot be used: {trouble}')
    people = [admin for admin in admins if isinstance(admin, Mapping) and admin.get('name') not in (None, '', 'root')
              and admin.get('state', 'present') != 'absent' and admin.get('sudo', True) and usable_keys(admin)]
    if not people:
        found.append('no named administrator besides root could get in: add one with a key and sudo to the inventory, '
                     'hardening_admins: [{name: alice, ssh_keys: ["ssh-ed25519 AAAA…"], sudo: true}]')
    elif int(policy['level']) >= 2 and len(people) < 2:
        found.append(f'level 2 wants a second administrator, should {people[0]["name"]} lose the key: '
                     'add one with a key and sudo to hardening_admins')
    name = automation.get('name')
    if not name or not usable_keys(automation):
        found.append('no automation account: say which account Ansible itself is to use, '
                     'hardening_automation: {name: automation, ssh_keys: ["ssh-ed25519 AAAA…"]}')
    elif name == 'root' or name in policy['disabled']:
        found.append(f'the automation account {name} is itself an account to be locked: '
                     'give hardening_automation another name and set ansible_user to it')
    elif connected and connected not in (name, policy['bootstrap_user']) and connected in ['root', *policy['disabled']]:
        found.append(f'this run is connected as {connected}, which is to be locked: '
                     f'set ansible_user: {name} in the inventory (hardening_bootstrap_user is for the first contact)')
    return found


def source_trouble(policy: Mapping, client: str, port: int, permitted: bool | None) -> list[str]:
    """Refusals about where the controller, or the jump server it comes through, connects from."""
    found = []
    if not client:
        return found
    if permitted is False:
        found.append(f'the flows would not let this run back in: it reaches the host from {client} on port {port}. '
                     f'Add to hardening_flows: {{from: jump, to: …, port: {port}}} (or from: controllers, with '
                     'hardening_controllers holding that address), and see that hardening_addresses are right')
    sources = policy['automation_from']
    if sources and not any(within(client, source) for source in sources):
        found.append(f'the automation account would be refused: this run reaches the host from {client}, and it may '
                     f'come only from {", ".join(map(str, sources))}. Add the address to hardening_automation.from, '
                     'hardening_controllers or the hardening_addresses of the jump server')
    return found


def within(address: str, network: object) -> bool:
    """Whether `address` lies in `network`; False where either cannot be read."""
    try:
        one, wider = ipaddress.ip_address(address), ipaddress.ip_network(str(network), strict=False)
    except ValueError:
        return False
    return one.version == wider.version and one in wider
