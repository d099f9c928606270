#!/usr/bin/env bash
# The whole story on throw-away hosts: bad as they are, attacked, hardened through their jump server, attacked again,
# verified. Run again, it finds the fleet as it left it, and nothing to change.
set -euo pipefail
cd "$(dirname "$0")/../.."

step() { printf '\n[%4d s] %s\n\n' "$SECONDS" "$*"; }
status=0

step "Build a fleet: a jump server, a web server, a database, a test host"
python tests/lab/lab.py up
inventory=$PWD/.cache/lab/fleet/inventory
evidence=$PWD/.cache/evidence

step "Attack it as it is"
python tests/lab/attack.py before

step "Harden it: ansible-playbook rampart.hardening.site"
ansible-playbook -i "$inventory" rampart.hardening.site

step "Attack it again"
python tests/lab/attack.py after || status=1

step "Verify it: ansible-playbook rampart.hardening.verify"
ansible-playbook -i "$inventory" rampart.hardening.verify -e "verify_output=$evidence" || status=1

step "Done. Every control on every host, and what was seen: $evidence/latest/report.html"
echo "Look around:    tests/lab/lab.py status; tests/lab/lab.py exec web1"
echo "Take it back:   ansible-playbook -i $inventory rampart.hardening.undo -e undo=all"
echo "Remove it all:  make clean"
exit "$status"
