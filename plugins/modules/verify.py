#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: verify
short_description: Verify the controls in force on the hosts of a play and write evidence
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Runs the collection's C(tests/baseline), which are pytest-testinfra tests, from the controller against all hosts
    of the play in parallel, over SSH as Ansible would reach them, and changes nothing on them.
  - Writes C(evidence.json), C(junit.xml) and C(report.html), and fails where a control fails or could not be tested
    and no valid waiver excuses it.
  - Made for the playbook C(rampart.hardening.verify). Run it once a play, with C(run_once).
requirements:
  - pytest-testinfra and pytest-xdist, beside the Python that runs Ansible
options:
  output:
    description:
      - Directory, on the controller, below which each run makes a directory of its own.
      - C(latest) in it points to the last run. What changed is told by comparing with that.
    type: path
    default: rampart-evidence
  hosts:
    description: Verify only these hosts of the play. All of them without it.
    type: list
    elements: str
  roles:
    description: Verify only the controls of these roles, as a list or separated by commas.
    type: raw
  controls:
    description: Verify only these controls, as a list or separated by commas.
    type: raw
  workers:
    description: How many hosts are verified at once. By default four per processor core of the controller.
    type: int
attributes:
  check_mode:
    description: Can run in C(check_mode), where it does the same, as it only reads.
    support: full
  diff_mode:
    description: There is nothing to show in C(diff_mode).
    support: none
  platform:
    description: Hosts it can verify.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Verify what the ssh role promises
  rampart.hardening.verify:
    output: /var/lib/evidence
    roles: [ssh]
  run_once: true
"""

RETURN = r"""
verdict:
  description: V(compliant) or V(not compliant).
  returned: always
  type: str
  sample: compliant
summary:
  description: How many hosts, controls and verdicts of each kind.
  returned: always
  type: dict
  sample: {hosts: 4, controls: 35, pass: 138, fail: 0, waived: 1, na: 1, error: 0}
output:
  description: Directory with the evidence of this run.
  returned: always
  type: str
  sample: /var/lib/evidence/20261124T105139Z
report:
  description: The HTML report.
  returned: always
  type: str
  sample: /var/lib/evidence/20261124T105139Z/report.html
"""
