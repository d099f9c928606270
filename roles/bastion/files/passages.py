# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Written by the role bastion of rampart.hardening. Do not edit: change the inventory.
"""Follow what sshd tells the journal, and write one line for each event of somebody who passes through.

A session of sshd has two processes: one that checks who it is (and names the other, "User child is on pid"), and one
that does what they ask for. The lines of both are joined by their process ids.
"""

import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import time

LOG = "/var/log/rampart/passages.log"
SEEN = "/var/log/rampart/passages.seen"  # the time of the last line that was taken, in microseconds
PROGRAMS = ("sshd", "sshd-session", "sshd-auth")
ACCEPTED = re.compile(r"Accepted (\S+) for (\S+) from (\S+) port (\d+)")
CHILD = re.compile(r"User child is on pid (\d+)")
TARGET = re.compile(r"server_request_direct_tcpip.* target (\S+) port (\d+)")
DENIED = re.compile(r"to connect to host (\S+) port (\d+), but the request was denied")
SESSION = re.compile(r"Starting session: (.+?) for \S+ from")
BYTES = re.compile(r"Transferred: sent (\d+), received (\d+) bytes")
ENDED = re.compile(r"session closed for user")
PAUSE = 1.0  # seconds in which a request is refused, if it is


class Follower:
    """What is known of the sessions that are open: {pid: session}; `write` is given each line.

    Times are microseconds. What was until `since` is known already.
    """

    def __init__(self, write, since=0):
        self.write, self.since, self.sessions, self.asked = write, since, {}, {}

    def tell(self, when, session, event, **more):
        if when <= self.since:
            return
        words = [f"{key}={value}" for key, value in more.items()]
        who = f"person={session['person']} source={session['source']} session={session['id']}"
        self.write(" ".join([stamp(when), event, who, *words]) + "\n")

    def grant(self, pid):
        when, session, target = self.asked.pop(pid)
        self.tell(when, session, "passage", target=target)

    def settle(self, before):
        """What was asked for until then and not refused meanwhile was granted."""
        for pid in [pid for pid, (when, *__) in self.asked.items() if when < before]:
            self.grant(pid)

    def take(self, when, pid, text, root):
        """One line of sshd: when, which process, what, and whether root's process said it.

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
        if pid in self.asked and not denied:
            self.grant(pid)
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
            for other in [other for other, one in self.sessions.items() if one is session and other in self.asked]:
                self.grant(other)
            sent, received = session.get("bytes", ("unknown", "unknown"))
            self.tell(when, session, "logout", began=stamp(session["began"]), sent=sent, received=received)
            self.sessions = {other: one for other, one in self.sessions.items() if one is not session}


def write(line):
    """Opened for each line, so that the file may be rotated."""
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(line)


def stamp(micro):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(micro / 1e6))


def last_seen():
    try:
        with open(SEEN, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return int(time.time() * 1e6)  # what was before this log is not its business


def remember(when):
    with open(SEEN, "w", encoding="ascii") as file:
        file.write(str(when))


def main():
    # From the start of the system on: sessions that are open came before us. What the log has is not written again.
    argv = ["journalctl", "--follow", "--output=json", "--boot", "--no-tail"]
    argv += [f"--identifier={name}" for name in PROGRAMS]
    follower, rest, now = Follower(write, last_seen()), b"", 0
    remember(follower.since)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as journal:
        signal.signal(signal.SIGTERM, lambda *_: journal.kill())
        pipe = journal.stdout.fileno()
        while True:
            if not select.select([pipe], [], [], PAUSE)[0]:
                if follower.asked:
                    follower.settle(math.inf)
                    remember(now)
                continue
            piece = os.read(pipe, 65536)
            if not piece:
                return 0 if journal.wait() == -signal.SIGKILL else 1
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                entry = json.loads(line)
                if isinstance(entry.get("MESSAGE"), str) and entry.get("_PID"):
                    now = int(entry["__REALTIME_TIMESTAMP"])
                    follower.take(now, int(entry["_PID"]), entry["MESSAGE"], entry.get("_UID") == "0")
            follower.settle(now - PAUSE * 1e6)
            remember(min([max(now, follower.since), *(when - 1 for when, *__ in follower.asked.values())]))


if __name__ == "__main__":
    sys.exit(main())
