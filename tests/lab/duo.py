# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The double of Duo's service on a lab host: `Duo(host).mode("deny")`."""

from __future__ import annotations

import json
import pathlib
import subprocess

import duo_server
from lab import container

SERVER = pathlib.Path(duo_server.__file__)
HOME = "/srv/duo"
PORT = 8443
# A certificate authority that pam_duo is told of, another one that it is not, and a certificate for another host
MAKE = f"""
set -e
mkdir -p {HOME}; cd {HOME}
make() {{ # NAME AUTHORITY HOST
    [ -e $2.key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj "/CN=$2" -addext keyUsage=critical,keyCertSign,cRLSign -keyout $2.key -out $2.pem
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$3" \
        -addext "subjectAltName=DNS:$3" -addext basicConstraints=critical,CA:FALSE -CA $2.pem -CAkey $2.key \
        -keyout key -out certificate
    cat key certificate >$1.pem
}}
make right ca localhost
make wrong-ca other-ca localhost
make wrong-name ca elsewhere
echo allow >mode
"""
START = f"systemd-run --quiet --collect --unit duo /usr/bin/python3 {HOME}/{SERVER.name} {HOME} {PORT}"
WAIT = f"timeout 10 bash -c 'until : </dev/tcp/127.0.0.1/{PORT}; do sleep 0.1; done' 2>/dev/null"


class Duo:
    """`host` has a name and sh(command), which gives what the command said and raises where it failed."""

    def __init__(self, host):
        self.host = host
        host.sh(MAKE)
        copy = ["podman", "cp", SERVER, f"{container(host.name)}:{HOME}"]
        subprocess.run(copy, check=True, capture_output=True)
        self.mode("allow")

    def mode(self, name):
        """One of duo_server.MODES, or `stopped`. Forgets what was asked before."""
        if name == "stopped":
            self.host.sh("systemctl stop duo; ! systemctl --quiet is-active duo")
        else:
            assert name in duo_server.MODES, name
            self.host.sh(f"echo {name} >{HOME}/mode; systemctl --quiet is-active duo || {{ {START} && {WAIT}; }}")
        self.host.sh(f"rm -f {HOME}/log")
        self.current = name

    def asked(self):
        """What the service was asked since the mode was set, as a list of dictionaries."""
        lines = [json.loads(line) for line in self.host.sh(f"cat {HOME}/log || true").splitlines()]
        return [line for line in lines if line["mode"] == self.current]  # not the late end of a connection from before

    @staticmethod
    def variables(**other):
        """hardening_duo: how a host gets at this service."""
        return {
            "host": f"localhost:{PORT}",
            "ikey": duo_server.IKEY,
            "skey": duo_server.SKEY,
            "cafile": f"{HOME}/ca.pem",
            "https_timeout": 2,
            **other,
        }
