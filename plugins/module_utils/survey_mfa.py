# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mfa role has to know of a host: its PAM, who is enrolled, its clock. Reads only; returns no secret."""
from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import re
import time

TOTP_DIRECTORY = '/var/lib/rampart/mfa/totp'
MODULES = {'totp': 'pam_google_authenticator', 'duo': 'pam_duo', 'u2f': 'pam_u2f'}
WHERE = ('/lib/*/security', '/usr/lib/*/security', '/lib/security', '/lib64/security', '/usr/lib64/security')
OURS = '/etc/pam.d/rampart-mfa'
# Modules that ask for a second factor themselves
FACTORS = re.compile(r'\bpam_(?:google_authenticator|duo|u2f|oath|yubico|totp|otpw|privacyidea|radius_auth|securid'
                     r'|linotp|okta\w*|rublon|url)\b')
UNSYNCHRONIZED = 5  # adjtimex(2): TIME_ERROR


def foreign():
    """The lines of the site's own PAM configuration that ask for a second factor: [{file, line, module}]."""
    found = []
    for path in sorted(glob.glob('/etc/pam.d/*')):
        with contextlib.suppress(OSError):
            with open(path, encoding='utf-8', errors='replace') as handle:
                lines = handle.read().splitlines()
            for number, line in enumerate([] if path == OURS else lines, 1):
                factor = FACTORS.search(line.partition('#')[0])
                if factor and re.match(r'\s*-?auth\s', line):
                    found.append({'file': path, 'line': number, 'module': factor.group(0)})
    return found


def synchronized():
    """Whether the kernel knows of a program that keeps its clock; None where it cannot be asked."""
    try:
        return ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) != UNSYNCHRONIZED
    except (OSError, AttributeError):
        return None


def collect():
    """The survey's `mfa`.

    Returns::

        modules: {totp, duo, u2f: whether the PAM module is installed}
        enrolled: [name] of those who have a TOTP secret on this host
        foreign: [{file, line, module}], the site's own second factors
        time: seconds since 1970, by the host's clock
        synchronized: bool or None
    """
    try:
        enrolled = sorted(os.listdir(TOTP_DIRECTORY))
    except OSError:
        enrolled = []
    installed = {name: any(glob.glob(f'{place}/{module}.so') for place in WHERE) for name, module in MODULES.items()}
    return dict(modules=installed, enrolled=enrolled, foreign=foreign(), time=time.time(), synchronized=synchronized())
