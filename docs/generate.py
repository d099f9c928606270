"""Write each role's README.md and docs/controls.md from the roles' own metadata.

With --check nothing is written: the exit status tells whether what is there is up to date, and whether every control
has a test and every test a control.
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
    ]


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


def documents(root: Path) -> dict[Path, str]:
    pages = {root / "roles" / role / "README.md": readme(root, role) for role in roles(root)}
    pages[root / "docs/controls.md"] = control_list(root)
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
