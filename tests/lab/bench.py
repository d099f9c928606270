"""Times of the site playbook on 1, 4 and 20 hosts, each beside a bare ping of the same hosts in the same minutes.

Prints a table and asserts nothing. Ratios are what to compare: the floor (one `ping`) is measured with every run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAB = [sys.executable, str(ROOT / "tests/lab/lab.py")]
PING = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
"""


def timed(command: list[str], runs: int) -> float:
    """Mean seconds of a command over some runs, by hyperfine."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run(
            ["hyperfine", "--runs", str(runs), "--warmup", "1", "--style", "none", "--export-json", out.name,
             subprocess.list2cmdline(command)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return json.load(out)["results"][0]["mean"]


def counts(command: list[str], hosts: int) -> tuple[float, float]:
    """Tasks (skipped ones too) and SSH round trips of a run, for each host."""
    said = subprocess.run([*command, "-vvv"], check=True, capture_output=True, text=True).stdout
    recap = re.findall(r"ok=(\d+) .*skipped=(\d+)", said)
    return sum(int(ok) + int(skipped) for ok, skipped in recap) / hosts, said.count("SSH: EXEC") / hosts


def measure(number: int, runs: int, image: str) -> dict:
    """Build this many hosts, time everything on them, and take them away."""
    names = [f"bench-{index}" for index in range(number)]
    print(f"{number} hosts: starting", file=sys.stderr, flush=True)
    for name in names:
        subprocess.run([*LAB, "host", "up", name, "--image", image], check=True, stdout=subprocess.DEVNULL)
    try:
        inventories = [arg for name in names for arg in ("-i", str(ROOT / f".cache/lab/hosts/{name}/inventory.yml"))]
        with tempfile.TemporaryDirectory() as work:
            ping = Path(work) / "ping.yml"
            ping.write_text(PING)
            login = {"ansible_user": "automation",
                     "ansible_ssh_private_key_file": str(ROOT / ".cache/lab/keys/automation")}  # fmt: skip
            automation = Path(work) / "automation.yml"
            automation.write_text(json.dumps({"all": {"hosts": dict.fromkeys(names, login)}}))
            # every host's inventory says it is a jump server; nothing here is reached through another
            common = [*inventories, "-i", str(automation), "--forks", "20", "-e", "ansible_pipelining=true"]
            site = ["ansible-playbook", *common, "rampart.hardening.site"]
            check_pristine = timed([*site, "--check"], 1)
            began = time.monotonic()
            subprocess.run(site, check=True, stdout=subprocess.DEVNULL)
            first = time.monotonic() - began
            floor = timed(["ansible-playbook", *common, str(ping)], runs)
            again = timed(site, runs)
            check = timed([*site, "--check"], runs)
            tasks, trips = counts(site, number)
        return {"hosts": number, "floor": floor, "check of a pristine host": check_pristine, "first run": first,
                "no-change run": again, "check": check, "tasks": tasks, "round trips": trips}  # fmt: skip
    finally:
        for name in names:
            subprocess.run([*LAB, "host", "down", name], check=False, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 4, 20])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--image", default="bookworm")
    options = parser.parse_args()
    os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".cache/collections"))
    os.environ["ANSIBLE_LOCALHOST_WARNING"] = "false"
    print("| hosts | what | seconds | ratio to the floor | tasks a host | round trips a host |")
    print("| --- | --- | --- | --- | --- | --- |")
    for number in options.hosts:
        row = measure(number, options.runs, options.image)
        print(f"| {number} | floor: one ping | {row['floor']:.2f} | 1.0 | 1 | |")
        for what in ("check of a pristine host", "first run", "no-change run", "check"):
            extra = f"{row['tasks']:.0f} | {row['round trips']:.1f}" if what == "no-change run" else " | "
            print(f"| {number} | {what} | {row[what]:.2f} | {row[what] / row['floor']:.1f} | {extra} |", flush=True)


if __name__ == "__main__":
    main()
