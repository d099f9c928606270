# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log in to a host of the fleet as an administrator does, with the key and then a code, and show the conversation."""

import sys

import attack
import lab
import pexpect


def main(person, host):
    lab.use_containers_conf()
    options = {
        "IdentityFile": lab.STATE / "keys" / person, "UserKnownHostsFile": attack.KNOWN_HOSTS, "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey,keyboard-interactive", "NumberOfPasswordPrompts": 1,
    }  # fmt: skip
    argv = ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]
    address = lab.fleet_addresses(host)[0]
    print(f"$ ssh -i {person}'s-key {person}@{host} 'echo I am $(id -un) on $(hostname)'", flush=True)
    client = pexpect.spawn("ssh", [*argv, f"{person}@{address}", "echo I am $(id -un) on $(hostname)"], timeout=20,
                           encoding="utf-8")  # fmt: skip
    client.logfile_read = sys.stdout
    client.expect("code: ")
    client.sendline(attack.code(person))
    client.expect(f"I am {person} on {host}")
    client.expect(pexpect.EOF)
    print(f"\nNow with the key alone: {attack.login(host, person, attack.KEYED, None)[1]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
