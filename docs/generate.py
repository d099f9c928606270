"""Write each role's README.md, docs/controls.md and docs/coverage.md from the roles' own metadata.

With --check nothing is written: the exit status tells whether what is there is up to date, whether every control has a
test and every test a control, and whether every recommendation of the benchmarks has a control or a reason.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
WRAP = {"width": 118, "break_long_words": False, "break_on_hyphens": False}
# What a line of docs/coverage.yml may say: what a control lacks, or why there is none
STATES = {"lacks": "partly", "left": "left out", "moot": "does not apply"}
NOTE = "<!-- Written by `make docs` from the role's metadata: change that instead. -->"


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text()) or {}


def roles(root: Path) -> list[str]:
    return sorted(path.parents[1].name for path in root.glob("roles/*/meta/argument_specs.yml"))


def controls(root: Path, role: str) -> list[dict]:
    path = root / "roles" / role / "meta/controls.yml"
    return load(path).get("controls", []) if path.exists() else []


def tested(root: Path) -> dict[str, list[str]]:
    """Control id -> the tests marked with it, as pytest names them."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests/baseline").glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.control":
                    test = f"{path.relative_to(root)}::{node.name}"
                    for control in mark.args:
                        found.setdefault(ast.literal_eval(control), []).append(test)
    return found


def problems(root: Path) -> list[str]:
    """What is declared and not tested, tested and not declared, or declared twice."""
    declared = [control["id"] for role in roles(root) for control in controls(root, role)]
    marked = tested(root)
    return [
        *(f"control {name} has no test in tests/baseline" for name in sorted(set(declared) - set(marked))),
        *(f"{marked[name][0]} tests {name}, which no role declares" for name in sorted(set(marked) - set(declared))),
        *(f"control {name} is declared more than once" for name in sorted(set(declared)) if declared.count(name) > 1),
        *uncovered(root),
    ]


def benchmarks(root: Path) -> list[dict]:
    path = root / "docs/coverage.yml"
    return load(path)["benchmarks"] if path.exists() else []


def numbers(text: str) -> list[str]:
    """The recommendations that `text` stands for: 5.1.8, or 2.1.1-2.1.20."""
    first, dash, last = text.partition("-")
    head, dot, low = first.rpartition(".")
    return [f"{head}{dot}{n}" for n in range(int(low), int(last.rpartition(".")[2]) + 1)] if dash else [text]


def referring(root: Path, benchmark: str) -> dict[str, list[str]]:
    """Number of the benchmark -> the controls that refer to it."""
    found: dict[str, list[str]] = {}
    for control in (control for role in roles(root) for control in controls(root, role)):
        for reference in control["references"]:
            name, _space, number = reference.rpartition(" ")
            for one in numbers(number) if name == benchmark else []:
                found.setdefault(one, []).append(control["id"])
    return found


def uncovered(root: Path) -> list[str]:
    """References to what no benchmark has, and recommendations with neither control nor reason, or with both."""
    found = []
    known = [benchmark["name"] for benchmark in benchmarks(root)]
    families = {re.match(r"\w+", name)[0] for name in known}
    for control in (control for role in roles(root) for control in controls(root, role)):
        found += [
            f"control {control['id']} refers to {reference}, which is of no benchmark in docs/coverage.yml"
            for reference in control["references"]
            if reference.rpartition(" ")[0] not in known and re.match(r"\w*", reference)[0] in families
        ]
    for benchmark in benchmarks(root):
        name, met = benchmark["name"], referring(root, benchmark["name"])
        rows = {number: row for key, row in benchmark["recommendations"].items() for number in numbers(key)}
        found += [f"{ids[0]} refers to {name} {number}, which there is not" for number, ids in met.items()
                  if number not in rows]  # fmt: skip
        for number, row in rows.items():
            if number in met and row.keys() & {"left", "moot"}:
                found.append(f"{name} {number} is left out, and {met[number][0]} refers to it")
            elif number not in met and "lacks" in row:
                found.append(f"{name} {number} is met partly, and no control refers to it")
            elif number not in met and not row.keys() & {"left", "moot"}:
                found.append(f"{name} {number} has neither control nor reason")
    return found


def prose(text: str | list[str], indent: str = "") -> str:
    """Ansible's documentation markup as Markdown, wrapped; a list is one paragraph an item."""
    paragraphs = [text] if isinstance(text, str) else text
    out = []
    for paragraph in paragraphs:
        line = " ".join(str(paragraph).split())
        line = re.sub(r"\b[CVOMEP]\(((?:[^()\\]|\\.)*)\)", lambda match: f"`{match[1]}`", line)
        line = re.sub(r"\bB\(([^()]*)\)", r"**\1**", line)
        line = re.sub(r"\bI\(([^()]*)\)", r"*\1*", line)
        line = re.sub(r"\bU\(([^()]*)\)", r"<\1>", line)
        line = re.sub(r"\bL\(([^(),]*),\s*([^()]*)\)", r"[\1](\2)", line)
        out.append(textwrap.fill(line, initial_indent=indent, subsequent_indent=indent, **WRAP))
    return "\n\n".join(out)


def anchor(control: str) -> str:
    return re.sub(r"[^\w -]", "", control.lower()).replace(" ", "-")


def option(name: str, spec: dict, depth: int = 0) -> list[str]:
    kind = spec.get("type", "str")
    if kind == "list" and "elements" in spec:
        kind = f"list of {spec['elements']}"
    facts = [kind]
    if spec.get("required"):
        facts.append("required")
    elif "default" in spec:
        default = yaml.safe_dump(spec["default"], default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
        facts.append(f"default `{default}`")
    if "choices" in spec:
        facts.append("one of " + ", ".join(f"`{choice}`" for choice in spec["choices"]))
    indent = "  " * depth
    text = prose(spec.get("description", ""), indent + "  ")
    lines = [f"{indent}- **`{name}`** ({', '.join(facts)})  ", text]
    for inner, inner_spec in spec.get("options", {}).items():
        lines += option(inner, inner_spec, depth + 1)
    return lines


def readme(root: Path, role: str) -> str:
    spec = load(root / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"]
    lines = [NOTE, "", f"# rampart.hardening.{role}", "", prose(spec["short_description"]).rstrip(".") + ".", ""]
    if spec.get("description"):
        lines += [prose(spec["description"]), ""]
    lines += [
        f"`rampart.hardening.site` applies it with the others; alone it is `--tags {role}`.",
        "",
        "## Controls",
        "",
        "| control | level | |",
        "| --- | --- | --- |",
    ]
    for control in controls(root, role):
        link = f"[{control['id']}](../../docs/controls.md#{anchor(control['id'])})"
        lines.append(f"| {link} | {control['level']} | {control['title']} |")
    lines += ["", "## Variables", ""]
    for name, inner in spec.get("options", {}).items():
        lines += option(name, inner)
    return "\n".join(lines).rstrip() + "\n"


def control_list(root: Path) -> str:
    marked = tested(root)
    lines = [
        NOTE,
        "",
        "# Controls",
        "",
        prose(
            "A control is one requirement that can be verified. Level 1 is for every host and should surprise nobody; "
            "level 2 is stricter and may cost convenience. `hardening_level` chooses; `hardening_waivers` makes an "
            "exception to one control, with a reason, an owner and a date on which it ends."
        ),
        "",
    ]
    for role in roles(root):
        lines += [f"## {role}", "", "| control | level | |", "| --- | --- | --- |"]
        lines += [
            f"| [{control['id']}](#{anchor(control['id'])}) | {control['level']} | {control['title']} |"
            for control in controls(root, role)
        ]
        lines.append("")
        for control in controls(root, role):
            lines += [f"### {control['id']}", "", f"**{control['title']}.** Level {control['level']}.", ""]
            lines += [prose(control["why"]), ""]
            if control.get("may_break"):
                lines += [prose(f"*May break:* {control['may_break']}"), ""]
            if control.get("references"):
                lines += [prose("*References:* " + "; ".join(control["references"])), ""]
            tests = ", ".join(f"`{test}`" for test in marked.get(control["id"], []))
            lines += [f"*Verified by:* {tests}" if tests else "*Verified by nothing yet.*", ""]
    return "\n".join(lines).rstrip() + "\n"


def coverage(root: Path) -> str:
    lines = [
        NOTE,
        "",
        "# Benchmarks",
        "",
        prose(
            [
                "What became of each recommendation of the benchmarks for servers. The words are ours and tell what a "
                "number is about; the benchmarks themselves say what exactly they ask for and how they look at it.",
                "*Met*: the controls named enforce it and verify it on the live host. *Partly*: they do, but for what "
                "is said. *Left out*: no control, and the reason. *Does not apply*: another choice of the benchmark's "
                "own was taken, or Debian cannot be otherwise. The levels are "
                "the benchmark's; controls have their own ([controls.md](controls.md)).",
            ]
        ),
        "",
    ]
    for benchmark in benchmarks(root):
        met = referring(root, benchmark["name"])
        counts = {level: dict.fromkeys(("met", *STATES.values()), 0) for level in benchmark["levels"]}
        table = []
        for key, row in benchmark["recommendations"].items():
            ids = sorted({control for number in numbers(key) for control in met.get(number, [])})
            how = next((name for word, name in STATES.items() if word in row), "met")
            counts[row["level"]][how] += len(numbers(key))
            links = ", ".join(f"[{one}](controls.md#{anchor(one)})" for one in ids)
            said = "; ".join(filter(None, [links, *(row[word] for word in STATES if word in row)]))
            table.append(f"| {key} | {row['level']} | {row['words']} | **{how}** | {said} |")
        lines += [f"## {benchmark['name']}", "", prose(benchmark["about"]), ""]
        lines += [f"| level | met | {' | '.join(STATES.values())} |", "| --- | --- | --- | --- | --- |"]
        lines += [f"| {level} | {' | '.join(map(str, found.values()))} |" for level, found in counts.items()]
        lines += ["", "| number | level | about | | by, or why |", "| --- | --- | --- | --- | --- |", *table, ""]
    return "\n".join(lines).rstrip() + "\n"


def documents(root: Path) -> dict[Path, str]:
    pages = {root / "roles" / role / "README.md": readme(root, role) for role in roles(root)}
    pages[root / "docs/controls.md"] = control_list(root)
    if benchmarks(root):
        pages[root / "docs/coverage.md"] = coverage(root)
    return pages


def main() -> int:
    pages = documents(ROOT)
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    found = problems(ROOT)
    if "--check" in sys.argv[1:]:
        found += [f"{path.relative_to(ROOT)} is not up to date: run make docs" for path in stale]
    else:
        for path in stale:
            path.write_text(pages[path])
            print(f"wrote {path.relative_to(ROOT)}")
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
