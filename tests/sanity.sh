#!/usr/bin/env bash
# Run ansible-test sanity on the tracked files, where ansible-test wants them: below an ansible_collections directory.
# Arguments are passed on, as in: tests/sanity.sh --test validate-modules
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

collection=$work/ansible_collections/rampart/hardening
mkdir -p "$collection"
cd "$root"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' path; do [ ! -e "$path" ] || printf '%s\0' "$path"; done |
    tar --null --files-from=- --create | tar --extract --directory "$collection"

ln -s "$root/.cache/collections/ansible_collections/amazon" "$work/ansible_collections/amazon"

# A home of its own: ansible-test keeps its virtual environments there, and its get-pip.py, which it would
# download from a host that is no package registry. The stand-in uses the pip that Python brings along.
mkdir -p "$root/.cache/sanity/.ansible/test/cache"
[ ! -d "$HOME/.config/pip" ] || { mkdir -p "$root/.cache/sanity/.config" && ln -sfn "$HOME/.config/pip" "$root/.cache/sanity/.config/pip"; }
export HOME=$root/.cache/sanity
pip_version=$(python - <<'EOF'
import platform
from types import SimpleNamespace

from ansible_test._internal.python_requirements import get_venv_packages

version = ".".join(platform.python_version_tuple()[:2])
print(get_venv_packages(SimpleNamespace(version=version))["pip"].replace(".", "_"))
EOF
)
cat >"$HOME/.ansible/test/cache/get_pip_$pip_version.py" <<'EOF'
import subprocess
import sys

packages = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", *packages])
EOF

# Only whole Pythons: a version manager's shims answer for versions that are not there. More versions, to compile
# and import the host's half with, can be named in SANITY_PATH.
venv=$(dirname "$(command -v ansible-test)")
export PATH=$venv:${SANITY_PATH:+$SANITY_PATH:}/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
cd "$collection"
ansible-test sanity --color no --truncate 0 "$@"
