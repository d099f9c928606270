# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dozen rounds of the soak (`make soak` runs a few hundred)."""

from __future__ import annotations

import os
import time

import soak


def test_a_dozen_deaths_leave_every_host_old_or_new():
    rounds = soak.soak(12, 3, os.environ.get("SEED", str(int(time.time()))))
    print(soak.table(rounds))
    failed = [f"round {done.number} ({done}): {done.trouble}"
              for done in rounds if done.outcome == "failed"]  # fmt: skip
    assert not failed, "\n\n".join(failed)
