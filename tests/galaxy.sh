#!/usr/bin/env bash
# Build the collection as Galaxy would get it, install the tarball as a user would, use it, and let Galaxy's importer
# judge it.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "build"
ansible-galaxy collection build --output-path "$work" >"$work/build.log" || { cat "$work/build.log"; exit 1; }
tarball=$(echo "$work"/rampart-hardening-*.tar.gz)

echo "contents"
tar --list --gzip --file "$tarball" >"$work/list"
for wanted in playbooks/site.yml playbooks/verify.yml playbooks/undo.yml tests/baseline/conftest.py requirements.txt requirements-cloud.txt; do
    grep -qx "$wanted" "$work/list" || { echo "$wanted is missing from the tarball"; exit 1; }
done
if grep -E '(^|/)(\.cache|\.git|\.ci|__pycache__|\.ansible)(/|$)|\.tar\.gz$' "$work/list"; then
    echo "these do not belong in the tarball"
    exit 1
fi

echo "install"
export ANSIBLE_COLLECTIONS_PATH=$work/collections
mkdir -p "$work/collections/ansible_collections" # the dependency is there already, so that no Galaxy is asked
ln -s "$PWD/.cache/collections/ansible_collections/amazon" "$work/collections/ansible_collections/amazon"
ansible-galaxy collection install "$tarball" -p "$work/collections" >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }

echo "use"
cd "$work"
ansible-doc -t module rampart.hardening.confirmed_change >"$work/doc.log" || { cat "$work/doc.log"; exit 1; }
grep -q confirm_timeout "$work/doc.log"
for playbook in site verify undo; do
    ansible-playbook --syntax-check -i localhost, "rampart.hardening.$playbook"
done

echo "importer"
# ansible-test has its own part; the importer would want a container for it
printf '[galaxy-importer]\nRUN_ANSIBLE_TEST = False\nLOG_LEVEL_MAIN = INFO\n' >"$work/importer.cfg"
# It looks for documentation in a folder of its own; what ours extends, of amazon.aws, Ansible also finds by PYTHONPATH
importer() {
    PYTHONPATH=$work/collections GALAXY_IMPORTER_CONFIG=$work/importer.cfg \
        python -m galaxy_importer.main "$tarball" >"$work/importer.log" 2>&1
}
# It says ERROR and exits with 0 where it could not get the documentation
if ! importer || grep -q '^ERROR' "$work/importer.log"; then
    cat "$work/importer.log"
    exit 1
fi
grep '^WARNING' "$work/importer.log" || true
echo "built $(basename "$tarball"), $(wc -l <"$work/list") files; installed, used, imported"
