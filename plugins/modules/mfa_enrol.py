#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# All of it runs in the action plugin of this name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mfa_enrol
short_description: Make the secrets of TOTP for administrators who have none
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Makes a secret and scratch codes for each administrator of C(hardening_admins) whose factors contain C(totp), and
    for the sealed account of C(hardening_break_glass), unless C(hardening_totp_secrets) has one already.
  - Writes them, encrypted with the run's vault password, into a file of variables, and for each person a page of text
    and a picture with the QR code. No secret is in arguments, results or logs.
  - Works on the controller and connects to no host. C(rampart.hardening.site) brings the secrets to the hosts.
requirements: [segno]
options:
  variables:
    description:
      - The file that defines C(hardening_totp_secrets) and nothing else, encrypted as a whole. What it says of other
        people stays. C(group_vars/all/totp.yml) beside the inventory unless set.
      - A variable has one value. Where C(hardening_totp_secrets) is set elsewhere too, whoever is in it counts as
        enrolled and is not written into this file. That somebody else should be enrolled on such a host is refused, as
        one of the two would hide the other.
    type: path
  output:
    description: The directory for what people are handed, C(NAME.txt) and C(NAME.png), each encrypted.
    type: path
    default: rampart-mfa
  issuer:
    description: What authenticators show beside the name.
    type: str
    default: rampart
  reenrol:
    description: People who get a new secret and new scratch codes, as a list or separated by commas.
    type: list
    elements: str
    default: []
  revoke:
    description:
      - People whose secret is taken out of the file, as a list or separated by commas. A later run enrols them again if
        C(hardening_admins) still has them.
    type: list
    elements: str
    default: []
  vault_id:
    description:
      - Which of the run's vault ids encrypts. Unless set, the one that the file is encrypted with already; for a new
        file C(vault_encrypt_identity) of C(ansible.cfg), or the first of the run.
    type: str
attributes:
  check_mode:
    description: Says who would be enrolled, and refuses what a run would refuse, and writes nothing.
    support: full
  diff_mode:
    description: Shows the names in the file of variables.
    support: full
"""

EXAMPLES = r"""
- name: Enrol whoever has no secret
  rampart.hardening.mfa_enrol:
    issuer: Example Ltd
  run_once: true

- name: Give alice another secret, and take bob's away
  rampart.hardening.mfa_enrol:
    reenrol: [alice]
    revoke: [bob]
  run_once: true
"""

RETURN = r"""
enrolled:
  description: Who was given a first secret.
  returned: success
  type: list
  elements: str
reenrolled:
  description: Who was given another.
  returned: success
  type: list
  elements: str
revoked:
  description: Whose secret was taken out.
  returned: success
  type: list
  elements: str
already:
  description: Who had one and kept it.
  returned: success
  type: list
  elements: str
variables:
  description: The file of variables.
  returned: success
  type: str
  sample: /srv/ansible/group_vars/all/totp.yml
files:
  description: What people are to be handed.
  returned: success
  type: list
  elements: str
  sample: [/srv/ansible/rampart-mfa/alice.txt, /srv/ansible/rampart-mfa/alice.png]
"""
