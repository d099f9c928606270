#!/usr/bin/env bash
# Everything that reads the code without running it. Every linter has its say before the script fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

status=0
check() {
    printf '%-14s ' "$1"
    shift
    if output=$("$@" 2>&1); then echo ok; else echo "failed"; printf '%s\n' "$output"; status=1; fi
}

mapfile -t shell < <({ git ls-files -co --exclude-standard '*.sh'; git grep --untracked -lE '^#!.*\b(ba)?sh$'; } | sort -u)
check ruff ruff check .
check yamllint yamllint --strict .
check shellcheck shellcheck "${shell[@]}"
check ansible-lint ansible-lint --offline --nocolor
check docs python docs/generate.py --check
exit "$status"
