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
    description: The file that is to define C(hardening_totp_secrets). Others' secrets in it stay.
    type: path
    required: true
  output:
    description: The directory for what people are handed, C(NAME.txt) and C(NAME.png).
    type: path
    default: rampart-mfa
  issuer:
    description: What authenticators show beside the name.
    type: str
    default: rampart
  reenrol:
    description: People who get a new secret and new scratch codes.
    type: list
    elements: str
    default: []
  revoke:
    description: People whose secret is taken out of the file.
    type: list
    elements: str
    default: []
  vault_id:
    description: Which of the run's vault ids encrypts. The first unless set.
    type: str
attributes:
  check_mode:
    description: Says who would be enrolled and writes nothing.
    support: full
  diff_mode:
    description: Shows the names in the file of variables.
    support: full
"""

EXAMPLES = r"""
- name: Enrol whoever has no secret
  rampart.hardening.mfa_enrol:
    variables: "{{ inventory_dir }}/group_vars/all/totp.yml"
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
files:
  description: What people are to be handed.
  returned: success
  type: list
  elements: str
"""
