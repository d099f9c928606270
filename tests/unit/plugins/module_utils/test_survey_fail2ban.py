# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site has set in fail2ban's jail for sshd, in the order in which fail2ban reads its files."""

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_fail2ban

SHIPPED = {
    "jail.conf": "[DEFAULT]\nmaxretry = 5\nbantime=10m\nignorecommand =\nfilter = %(__name__)s[mode=%(mode)s]\n"
                 "[sshd]\nport = ssh\n[nginx]\nport = http\nmaxretry = 1\n",
    "jail.d/defaults-debian.conf": "[sshd]\nenabled = true\n",
    "jail.d/rampart.local": "[sshd]\nmaxretry = 20\nbantime = 600\n",
}  # fmt: skip


@pytest.fixture
def jail(tmp_path):
    (tmp_path / "jail.d").mkdir()

    def write_and_read(files):
        for name, text in files.items():
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        settings, own = survey_fail2ban.jail(str(tmp_path))
        return settings, {key: path.removeprefix(f"{tmp_path}/") for key, path in own.items()}

    return write_and_read


def test_what_the_packages_bring_and_we_set_is_not_the_sites_own(jail):
    settings, own = jail(SHIPPED)
    assert (settings["maxretry"], settings["enabled"], settings["port"], own) == ("5", "true", "ssh", {})


def test_a_host_without_fail2ban_has_none(jail):
    assert jail({}) == ({}, {})


def test_the_last_file_wins_and_the_jail_over_the_defaults(jail):
    settings, own = jail({
        **SHIPPED, "jail.d/a.conf": "[sshd]\nmaxretry = 4\n", "jail.local": "[DEFAULT]\nmaxretry = 9\nbantime = 1h\n",
        "jail.d/z.local": "[sshd]\nmaxretry: 3  ; few\n", "jail.d/other": "[sshd]\nmaxretry = 1\n",
    })  # fmt: skip
    assert (settings["maxretry"], settings["bantime"]) == ("3", "1h")
    assert own == {"maxretry": "jail.d/z.local", "bantime": "jail.local"}


def test_what_may_hold_a_password_is_named_and_not_told(jail):
    settings, own = jail({**SHIPPED, "jail.local": "[DEFAULT]\naction = report[apikey=fake]\n"})
    assert "action" in own and "fake" not in str(settings)


@pytest.mark.parametrize("text", ["maxretry = 1\n", "[sshd\nx", b"\xff\xfe[sshd]\n", "[sshd]\nmaxretry = 1\nx\n"])
def test_a_file_that_nobody_can_read_is_left_out(jail, text):
    assert jail({**SHIPPED, "jail.local": text})[1] == {}
