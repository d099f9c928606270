# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Written by the role bastion of rampart.hardening. Do not edit: change the inventory.
"""Follow what sshd tells the journal, and write one line for each event of somebody who passes through.

A session of sshd has two processes: one that checks who it is (and names the other, "User child is on pid"), and one
that does what they ask for. The lines of both are joined by their process ids.
"""

import json
import os
import re
import select
import subprocess
import sys
import time

LOG = "/var/log/rampart/passages.log"
PROGRAMS = ("sshd", "sshd-session", "sshd-auth")
ACCEPTED = re.compile(r"Accepted (\S+) for (\S+) from (\S+) port (\d+)")
CHILD = re.compile(r"User child is on pid (\d+)")
TARGET = re.compile(r"server_request_direct_tcpip.* target (\S+) port (\d+)")
DENIED = re.compile(r"to connect to host (\S+) port (\d+), but the request was denied")
SESSION = re.compile(r"Starting session: (.+?) for \S+ from")
BYTES = re.compile(r"Transferred: sent (\d+), received (\d+) bytes")
ENDED = re.compile(r"session closed for user")
PAUSE = 1  # seconds in which a request is refused, if it is


class Follower:
    """What is known of the sessions that are open: {pid: session}; `write` is given each line."""

    def __init__(self, write):
        self.write, self.sessions, self.asked = write, {}, {}

    def tell(self, when, session, event, **more):
        words = [f"{key}={value}" for key, value in more.items()]
        who = f"person={session['person']} source={session['source']} session={session['id']}"
        self.write(" ".join([when, event, who, *words]) + "\n")

    def settle(self):
        """What was asked for and not refused meanwhile was granted."""
        for when, session, target in self.asked.values():
            self.tell(when, session, "passage", target=target)
        self.asked.clear()

    def take(self, when, pid, text, root):
        """One line of sshd: when (ISO 8601), which process, what, and whether root's process said it.

        Anybody may call himself sshd in the journal. Who logs in, and as which process, root's lines alone say; the
        process id is what the kernel says.
        """
        accepted = ACCEPTED.search(text) if root else None
        if accepted and pid not in self.sessions:  # with two factors it says so once for each
            method, person, address, port = accepted.groups()
            self.sessions[pid] = {"id": pid, "person": person, "source": f"{address}:{port}", "began": when}
            self.tell(when, self.sessions[pid], "login", method=method)
        session = self.sessions.get(pid)
        if accepted or session is None:
            return
        child, target, denied = root and CHILD.search(text), TARGET.search(text), DENIED.search(text)
        if target or pid in self.asked and not denied:
            self.settle()
        if child:
            self.sessions[int(child.group(1))] = session
        elif target:
            self.asked[pid] = when, session, ":".join(target.groups())
        elif denied:
            self.asked.pop(pid, None)
            self.tell(when, session, "refused", target=":".join(denied.groups()))
        elif SESSION.search(text):
            self.tell(when, session, "session", kind=SESSION.search(text).group(1).replace(" ", "_"))
        elif BYTES.search(text):
            session["bytes"] = BYTES.search(text).groups()
        elif root and ENDED.search(text) and pid == session["id"]:
            self.settle()
            sent, received = session.get("bytes", ("unknown", "unknown"))
            self.tell(when, session, "logout", began=session["began"], sent=sent, received=received)
            self.sessions = {other: one for other, one in self.sessions.items() if one is not session}


def write(line):
    """Opened for each line, so that the file may be rotated."""
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(line)


def stamp(micro):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(micro / 1e6))


def main():
    argv = ["journalctl", "--follow", "--output=json", "--lines=0", *(f"--identifier={name}" for name in PROGRAMS)]
    follower, rest = Follower(write), b""
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as journal:
        pipe = journal.stdout.fileno()
        while True:
            if not select.select([pipe], [], [], PAUSE)[0]:
                follower.settle()
                continue
            piece = os.read(pipe, 65536)
            if not piece:
                return journal.wait()
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                entry = json.loads(line)
                if isinstance(entry.get("MESSAGE"), str) and entry.get("_PID"):
                    when, root = stamp(int(entry["__REALTIME_TIMESTAMP"])), entry.get("_UID") == "0"
                    follower.take(when, int(entry["_PID"]), entry["MESSAGE"], root)


if __name__ == "__main__":
    sys.exit(main())
