"""Run all the tests, independent parts side by side, each with a log of its own, and say how each part ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".cache/log"
JOBS = int(os.environ.get("JOBS", str((os.cpu_count() or 1) + 1)))  # one more: lab tests wait half of their time
LIMIT = int(os.environ.get("TEST_LIMIT", "5000"))  # seconds for everything: an end with a report beats being stopped
TAIL = 60
ON_DEMAND = {"lab-vm"}  # an emulated processor takes most of an hour for what a real one does in minutes


@dataclass
class Part:
    name: str
    command: list[str]
    after: list[str] = field(default_factory=list)
    places: int = 1  # of JOBS; a part with time limits takes more, or the whole machine
    state: str = "waiting"
    began: float = 0.0
    seconds: float = 0.0
    process: subprocess.Popen | None = None

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"


def parts() -> list[Part]:
    """All parts, in the order in which they are started."""
    lab_tests = sorted(path.stem for path in (ROOT / "tests/lab").glob("test_*.py") if path.stem != "test_power")
    scenarios = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    return [
        Part("lab-image", ["python", "tests/lab/lab.py", "build"]),
        Part("vm-image", ["python", "tests/lab/vm.py", "build", "bookworm"], ["lab-image"]),
        lab_part("test_power"),
        Part("sanity", ["tests/sanity.sh"]),
        Part("unit", ["pytest", "-n", "auto", "tests/unit"]),
        Part("cloud", ["pytest", "tests/cloud"]),
        Part("lint", ["tests/lint.sh"]),
        Part("galaxy", ["tests/galaxy.sh"]),
        *(Part(f"molecule-{name}", ["molecule", "test", "-s", name], ["lab-image"]) for name in scenarios),
        *(lab_part(name) for name in lab_tests),
    ]


def lab_part(name: str) -> Part:
    # the faults wait most of the time, for timers and restarts
    side_by_side = ["-n", "4", "--dist", "loadgroup"] if name == "test_faults" else []
    machine = name in ("test_power", "test_vm")
    alone = name in ("test_fleet", "test_faults", "test_soak")
    places = JOBS if alone else max(1, JOBS - 1) if machine else 1
    image = "vm-image" if machine else "lab-image"
    return Part(name.replace("test_", "lab-"), ["pytest", *side_by_side, f"tests/lab/{name}.py"], [image], places)


def room(part: Part, running: list[Part]) -> bool:
    """Whether this part may start beside those that run."""
    return not running or part.places + sum(other.places for other in running) <= JOBS


def said(log: Path) -> str:
    """The line that tells best how a part went: a test runner's closing line, else the last one."""
    lines = [line.strip(" =\t") for line in log.read_text(errors="replace").splitlines() if line.strip(" =\t")]
    closing = [line for line in lines if re.search(r"\b\d+ (passed|failed|error)", line)]
    return (closing or lines or [""])[-1][:90]


def main() -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    todo = parts()
    if unknown := set(sys.argv[1:]) - {part.name for part in todo}:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}")
    chosen = set(sys.argv[1:]) or {part.name for part in todo} - ON_DEMAND
    for part in reversed(todo):  # each stands behind those it needs
        chosen |= set(part.after) if part.name in chosen else set()
    todo = [part for part in todo if part.name in chosen]
    by_name = {part.name: part for part in todo}

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f}s] {text}", flush=True)

    def end(part: Part, state: str) -> None:
        part.state = state
        part.seconds = time.monotonic() - part.began
        tell(f"{part.name} {state} after {part.seconds:.0f}s: {said(part.log)}")

    while any(part.state in ("waiting", "running") for part in todo):
        for part in todo:
            if part.state == "running" and part.process.poll() is not None:
                end(part, "passed" if part.process.returncode == 0 else "failed")
            elif part.state == "running" and time.monotonic() - began > LIMIT:
                os.killpg(part.process.pid, signal.SIGKILL)
                end(part, "failed")
        running = [part for part in todo if part.state == "running"]
        for part in todo:
            needs = [by_name[name].state for name in part.after]
            if part.state != "waiting":
                continue
            if "failed" in needs or time.monotonic() - began > LIMIT:
                part.state = "failed"
                part.log.write_text("not started: what it needs failed, or the time was over\n")
                tell(f"{part.name} failed: not started")
            elif any(state != "passed" for state in needs):
                continue
            elif not room(part, running):
                if part.places < JOBS:
                    break  # who needs more than one place is not overtaken for ever; those alone come at the end
            else:
                tell(f"{part.name} started")
                part.began = time.monotonic()
                with part.log.open("wb") as log:
                    part.process = subprocess.Popen(
                        part.command,
                        cwd=ROOT,
                        env=os.environ | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                part.state = "running"
                running.append(part)
        time.sleep(0.5)

    failed = [part for part in todo if part.state == "failed"]
    for part in failed:
        lines = part.log.read_text(errors="replace").splitlines()[-TAIL:]
        print(f"\n--- {part.name} failed; the end of {part.log.relative_to(ROOT)}:", *lines, sep="\n")
    print()
    for part in todo:
        print(f"{part.state:<7} {part.seconds:6.0f}s  {part.name:<24} {said(part.log)}")
    print(f"\n{time.monotonic() - began:.0f} s in all")
    print(f"{len(todo) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
