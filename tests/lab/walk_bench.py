# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk of the module integrity over a tree of many files, beside `find -xdev` over the same tree.

Prints a table and asserts nothing. Makes the tree once (a million files take half a minute) and leaves it unless told.
As root, it also measures with the kernel's caches emptied (--cold), which slows everything else on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DIRECTORY = 8  # files in each, as in /usr, /var and /etc of a Debian host (7.6)
WALK = """
import sys
from ansible_collections.rampart.hardening.plugins.module_utils import integrity
integrity.MAX_WORKERS = int(sys.argv[2])
settings = dict(skip=[], world_writable_allowed=[], unowned_allowed=[], report=100, time_limit=3600)
integrity.be_nice()
found, counts = integrity.scan([sys.argv[1]], set(), settings)
assert counts['files'] >= int(sys.argv[3]), counts
"""
FIND = "find {tree} -xdev"
# What three separate looks for the same findings cost, as a playbook of find commands takes them
SEPARATE = "{find} -type f -perm -0002; {find} -nouser; {find} -type f -perm /6000"


def grow(tree: Path, files: int) -> None:
    for number in range(0, files, DIRECTORY):
        place = tree / f"{number // (50 * DIRECTORY)}" / f"{number}"
        if place.is_dir():
            continue
        place.mkdir(parents=True)
        descriptor = os.open(place, os.O_RDONLY)
        for name in range(min(DIRECTORY, files - number)):
            os.close(os.open(f"file-{name}.dat", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=descriptor))
        os.close(descriptor)


def timed(command: str, runs: int, cold: bool) -> tuple[float, float]:
    """Mean seconds, and seconds of processor time, by hyperfine."""
    prepare = ["--prepare", "sync; echo 3 >/proc/sys/vm/drop_caches"] if cold else ["--warmup", "1"]
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        options = ["--runs", str(runs), *prepare, "--style", "none", "--export-json", out.name]
        subprocess.run(["hyperfine", *options, command], check=True, stdout=subprocess.DEVNULL)
        result = json.load(out)["results"][0]
        return result["mean"], result["user"] + result["system"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path(tempfile.gettempdir()) / "rampart-walk-bench")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--python", default="/usr/bin/python3", help="as on the hosts")
    parser.add_argument("--cold", action="store_true", help="with empty caches too")
    parser.add_argument("--remove", action="store_true", help="take the tree away afterwards")
    options = parser.parse_args()
    grow(options.tree, options.files)
    find = FIND.format(tree=options.tree)
    search = f"env PYTHONPATH={os.environ.get('ANSIBLE_COLLECTIONS_PATH', '')} {options.python}"
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(WALK)
        script.flush()
        commands = {
            "find -xdev": find,
            "find -xdev, twice": f"{find}; {find}",
            "find that looks at inodes": f"{find} -perm /6000",
            "three finds for the same": SEPARATE.format(find=find),
            "the walk, 1 process": f"{search} {script.name} {options.tree} 1 {options.files}",
            "the walk": f"{search} {script.name} {options.tree} 4 {options.files}",
        }
        print(f"{options.files} files, {os.cpu_count()} processors, Python {sys.version.split()[0]}")
        for cold in [False, True] if options.cold else [False]:
            twice, twice_cpu = 0.0, 0.0
            for name, command in commands.items():
                seconds, cpu = timed(command, options.runs, cold)
                twice, twice_cpu = (seconds, cpu) if name.endswith("twice") else (twice, twice_cpu)
                ratio = f"{seconds / twice:5.2f} of twice, {cpu / twice_cpu:5.2f} of its cpu" if twice else ""
                print(f"{'cold' if cold else 'warm'}  {name:26} {seconds:7.2f} s  {cpu:6.2f} s  {ratio}", flush=True)
    if options.remove:
        shutil.rmtree(options.tree)


if __name__ == "__main__":
    main()
