#!/usr/bin/env bash
# Bring this machine to where the tests can run: Debian packages, a virtual environment, the collection where
# Ansible finds it. What is already there is left alone, so that a second run takes a moment.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }

missing=()
while read -r package; do
    dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done < <(sed 's/#.*//; s/[[:space:]]*$//; /^$/d' tests/packages.txt tests/lab/packages.txt)

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "Missing Debian packages: ${missing[*]}. Install them, or run make as root." >&2
        exit 1
    fi
    say "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    mkdir -p .cache/log
    { apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
        </dev/null >.cache/log/apt.log 2>&1 || { tail -n 30 .cache/log/apt.log >&2; exit 1; }
fi

python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "Python 3.11 or newer with ensurepip is needed." >&2; exit 1; }

# Ansible finds the checkout as the collection it is
mkdir -p .cache/log .cache/collections/ansible_collections/rampart
ln -sfn ../../../.. .cache/collections/ansible_collections/rampart/hardening

stamp=$("$python" -c 'import sys; print(sys.version, sys.base_prefix)'; cat requirements-dev.txt)
if [ ! -x .cache/venv/bin/ansible ] || [ "$(cat .cache/venv/stamp 2>/dev/null)" != "$stamp" ]; then
    say "making the virtual environment with $("$python" --version)"
    "$python" -m venv --clear .cache/venv
    .cache/venv/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt >.cache/log/pip.log 2>&1 ||
        { tail -n 30 .cache/log/pip.log >&2; exit 1; }
    printf '%s\n' "$stamp" >.cache/venv/stamp
    say "ready"
fi

# amazon.aws, on which the cloud modules for Amazon build
if [ "$(cat .cache/collections/stamp 2>/dev/null)" != "$(cat tests/collections.txt)" ]; then
    say "fetching the collection amazon.aws"
    rm -rf .cache/collections/ansible_collections/amazon
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    .cache/venv/bin/pip download --quiet --disable-pip-version-check --no-deps --dest "$work" -r tests/collections.txt \
        >.cache/log/collections.log 2>&1 || { tail -n 30 .cache/log/collections.log >&2; exit 1; }
    .cache/venv/bin/python - "$work"/ansible-*.whl .cache/collections <<'EOF'
import sys
import zipfile

wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(target, [name for name in archive.namelist() if name.startswith("ansible_collections/amazon/aws/")])
EOF
    cp tests/collections.txt .cache/collections/stamp
fi
