# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How pam-auth-update makes the common files of PAM as a part of a confirmed change."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

DIRECTORIES = ["/usr/share/pam-configs", "/etc/pam.d", "/var/lib/pam"]


def derivation(
    enable: Iterable[str], remove: Iterable[str], present: Mapping[str, Iterable[str]], absent: Iterable[str] = ()
) -> dict:
    """One of confirmed_change's `derive`: profiles in and out of the common files.

    `present` says what has to be found in which of them (auth, account, password), `absent` what in none. A debconf of
    its own is used: the host's must not learn of what is only tried.
    """
    options = [*(["--enable", *enable] if enable else []), *(["--remove", *remove] if remove else [])]
    holds = [f"grep -qF -- {shlex.quote(text)} common-{kind}" for kind, texts in present.items() for text in texts]
    holds += [f"! grep -qF -- {shlex.quote(text)} common-*" for text in absent]
    return {
        "inputs": DIRECTORIES,
        "command": [
            "env", "DEBIAN_FRONTEND=noninteractive", "DEBCONF_NOWARNINGS=yes", "DEBCONF_DB_REPLACE=File{%s/debconf}",
            "pam-auth-update", "--root", "%s", *options,
        ],
        "outputs": [
            *(f"/var/lib/pam/{name}" for name in (*present, "seen")),
            *(f"/etc/pam.d/common-{name}" for name in present),
        ],
        "holds": ["sh", "-c", 'cd "$0etc/pam.d" && ' + " && ".join(holds or ["true"]), "%s/"],
    }  # fmt: skip
