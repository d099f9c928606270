#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# All of it runs in the action plugin of this name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: first_contact
short_description: Reach a host as the automation account, and create that account where it is not known yet
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Logs in as the account that the inventory names (C(ansible_user)) and surveys the host.
  - Where that login is refused, logs in as C(hardening_bootstrap_user), with C(hardening_bootstrap_password) or
    C(hardening_bootstrap_private_key_file), creates the account of C(hardening_automation) as a confirmed change whose
    proof is that account's own login, and hands the run over to it.
  - So the first run and every later one are the same command with the same inventory.
attributes:
  check_mode:
    description: Can run in check mode. Where the account would be created, the play goes on as the bootstrap user.
    support: full
  diff_mode:
    description: Returns what differs.
    support: full
"""

EXAMPLES = r"""
- name: Reach the host
  rampart.hardening.first_contact:
"""

RETURN = r"""
change:
  description: The id under which the host's journal holds the change.
  returned: when the account was created
  type: str
ansible_facts:
  description: What the survey found, as C(rampart_survey).
  returned: success
  type: dict
"""
