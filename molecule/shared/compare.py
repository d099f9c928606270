"""Compare two manifests of a host: equal, or different in exactly what a run said that it changed."""

import json
import re
import sys
from pathlib import Path

ROOTS = re.compile("/(etc|root|home|var/spool/cron)/")  # what manifest.py lists


def main(before: str, after: str, host: str = "", changes: str = "") -> str:
    old, new = (json.loads(Path(path).read_text()) for path in (before, after))
    touched = {path: (old.get(path), new.get(path)) for path in {*old, *new} if old.get(path) != new.get(path)}
    if not changes:
        return "".join(f"{path}: before {touched[path][0]}, now {touched[path][1]}\n" for path in sorted(touched))
    said = {
        change["path"]
        for change in json.loads(Path(changes).read_text())
        if change["host"] == host and ROOTS.match(change.get("path", ""))
    }
    # what lies in a home that the run said it makes is its skeleton, and Ansible's own
    homes = tuple(f"{path}/" for path in said - old.keys() if path.startswith("/home/"))
    touched = {path: pair for path, pair in touched.items() if path in said or not path.startswith(homes)}
    unsaid = [f"{path}: changed, though the run did not say so\n" for path in sorted(touched.keys() - said)]
    undone = [f"{path}: not changed, though the run said so\n" for path in sorted(said - touched.keys())]
    return "".join(unsaid + undone)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
