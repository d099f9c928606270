# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill something, somewhere, at some time during a change, again and again: the host ends wholly old or wholly new.

    soak.py [--kills N] [--hosts N] [--seed TEXT] [--victim NAME]

The seed decides which victim dies when in each round. Every second time of death lies anywhere within the time that an
undisturbed run takes on this machine, or a little beyond; the others within the change itself, from its first trace in
the journal on. The module on the host lives for half a second only: it dies within that.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import statistics
import sys
import threading
import time

from faults import Host, Play, after, change, difference, lab
from lab import V4

TIMEOUT = 12  # seconds until the host takes back what nobody confirms
# Who dies: all of ansible on the controller; on the host the module, and whoever takes a change back; sshd with all its
# sessions; the host as a whole
PROCESSES = {"module": "python3", "sshd": "sshd"}
VICTIMS = ("controller", "host", *PROCESSES)


class Round:
    """One change and one death."""

    def __init__(self, host, number, seed, typical, victims):
        self.host, self.number = host, number
        chance = hashlib.sha256(f"{seed}-{number}".encode()).digest()
        self.victim = victims[chance[0] % len(victims)]
        self.inside = chance[1] % 2 == 1
        span = 0.4 if self.victim == "module" else typical[self.inside]
        self.delay = 1.1 * int.from_bytes(chance[2:6]) / 2**32 * span
        self.outcome, self.trouble, self.seconds = "", "", 0.0

    def __str__(self):
        since = "change" if self.inside else "module" if self.victim == "module" else "run"
        return f"{self.victim} after {self.delay:.2f} s of the {since}"

    def wishes(self):
        """The whole of what a change can hold; its contents differ from round to round."""
        wishes = change(role=f"soak-{self.number}", confirm_timeout=TIMEOUT)
        for wish in wishes["files"]:
            if "content" in wish and "ssh" not in wish["path"]:
                wish["content"] = f"round {self.number}\n" * 50
        wishes["files"][0]["content"] = f"MaxAuthTries {2 + self.number % 50}\n"
        wishes["files"] += [
            {"path": f"/etc/soak/{self.number}/deep/{letter}.conf", "content": f"{letter}{self.number}\n"}
            for letter in "abcde"
        ]
        return wishes

    def strike(self, play):
        if self.inside:
            first_trace(self.host, play)
        elif self.victim == "module":
            while not self.host.processes("python3") and play.process.poll() is None:
                time.sleep(0.02)
        time.sleep(self.delay)
        if self.victim == "controller":
            play.kill()
        elif self.victim == "host":
            lab("host", "restart", "--kill", self.host.name)
        else:
            self.host.kill(PROCESSES[self.victim])

    def run(self):
        began = time.monotonic()
        host, wishes = self.host, self.wishes()
        before = host.manifest()
        new = after(before, wishes)
        play = Play(host, [{"name": "Change", "rampart.hardening.confirmed_change": wishes}])
        self.strike(play)
        said = play.text() if self.victim == "controller" else play.end()
        if self.victim != "controller":
            play.kill()  # what it leaves open
        try:
            host.settled()
            assert host.reachable(), "no fresh login gets in"
            found = host.manifest()
            entries = [entry for entry in host.journal().values() if entry.get("role") == wishes["role"]]
            states = [entry["state"] for entry in entries]
            if not difference(found, new):
                self.outcome = "new"
                assert states == ["confirmed"], f"wholly new, and the journal says {states}"
                assert self.victim == "controller" or play.code == 0 or "host has not answered" in said, said
            else:
                assert not difference(found, before), f"neither old nor new: {difference(found, before)}"
                self.outcome = "taken back" if "reverted" in states else "not begun"
                assert set(states) <= {"reverted", "abandoned", "staged"}, f"wholly old, and the journal says {states}"
                told = ("host is as before", "nothing on this host was changed", "host has not answered", "unreachable")
                assert self.victim == "controller" or any(words in said for words in told), said
        except AssertionError as trouble:
            self.outcome, self.trouble = "failed", f"{trouble}\n{said}"
            host.create()
        self.seconds = time.monotonic() - began
        return self


def first_trace(host, play):
    """Wait until the journal knows of the change that `play` makes, or the play has ended."""
    journal = pathlib.Path(f"/proc/{host.pid()}/root/var/lib/rampart/changes")

    def entries():
        return set(os.listdir(journal)) if journal.is_dir() else set()

    before = entries()
    while entries() <= before and play.process.poll() is None:
        time.sleep(0.02)


def typical(host):
    """How long an undisturbed run takes, and the change within it: the second one, as the first finds cold caches."""
    for number in (1, 2):
        wishes = change(role="typical")
        wishes["files"][1]["content"] = f"typical {number}\n"
        began = time.monotonic()
        play = Play(host, [{"name": "Change", "rampart.hardening.confirmed_change": wishes}])
        first_trace(host, play)
        middle = time.monotonic()
        said = play.end()
        if play.code:
            raise SystemExit(f"an undisturbed change fails: {said}")
        play.kill()
    return time.monotonic() - began, time.monotonic() - middle


def soak(kills, hosts, seed, say=print, victims=VICTIMS):
    """Run the rounds, some hosts side by side; returns them."""
    started = time.monotonic()
    machines = []
    for number in range(hosts):
        image = ("bookworm", "trixie")[number % 2]
        machines.append(Host(f"soak-{number}", image, "--ip", f"{V4}.0.{180 + number}"))
    rounds, todo, lock = [], iter(range(kills)), threading.Lock()
    with concurrent.futures.ThreadPoolExecutor(hosts) as pool:
        times = list(pool.map(typical, machines))
    usual = [statistics.median(column) for column in zip(*times, strict=True)]
    say(f"seed {seed}: {kills} rounds on {hosts} hosts; an undisturbed run takes {usual[0]:.1f} s, "
        f"{usual[1]:.1f} s of it the change")  # fmt: skip

    def work(host):
        while True:
            with lock:
                number = next(todo, None)
            if number is None:
                return
            done = Round(host, number, seed, usual, victims)
            try:
                done.run()
            except Exception as trouble:  # what the lab itself could not do is a failure too
                done.outcome, done.trouble = "failed", repr(trouble)
                host.create()
            with lock:
                rounds.append(done)
                say(f"[{time.monotonic() - started:5.0f}s] {len(rounds)}/{kills} round {number} on {host.image}: "
                    f"{done}: {done.outcome}")  # fmt: skip
                if done.trouble:
                    say(done.trouble)

    try:
        with concurrent.futures.ThreadPoolExecutor(hosts) as pool:
            list(pool.map(work, machines))
    finally:
        for host in machines:
            with contextlib.suppress(AssertionError):
                host.down()
    return rounds


def table(rounds):
    """Outcomes by victim."""
    outcomes = ("not begun", "taken back", "new", "failed")
    lines = ["".join(f"{word:>12}" for word in ("killed", "rounds", *outcomes, "median s", "longest s"))]
    for victim in (*VICTIMS, "all"):
        chosen = [done for done in rounds if victim in (done.victim, "all")]
        if chosen:
            times = [done.seconds for done in chosen]
            row = [sum(done.outcome == outcome for done in chosen) for outcome in outcomes]
            row = [victim, len(chosen), *row, f"{statistics.median(times):.1f}", f"{max(times):.1f}"]
            lines.append("".join(f"{word:>12}" for word in row))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="rounds, one kill each")
    parser.add_argument("--hosts", type=int, default=4, metavar="N", help="how many side by side")
    parser.add_argument("--seed", default=str(int(time.time())), help="that of an earlier run, to repeat it")
    parser.add_argument("--victim", choices=VICTIMS, action="append", help="only this one (can be repeated)")
    options = parser.parse_args()
    began = time.monotonic()
    rounds = soak(options.kills, options.hosts, options.seed, lambda text: print(text, flush=True),
                  options.victim or VICTIMS)  # fmt: skip
    print(f"\n{table(rounds)}\n\nseed {options.seed}, {time.monotonic() - began:.0f} s in all")
    failed = [done for done in rounds if done.outcome == "failed"]
    for done in failed:
        print(f"\nround {done.number}, {done} on {done.host.image}:\n{done.trouble}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
