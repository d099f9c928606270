# Works as root, or through sudo: `make help` lists what there is to do.
SHELL := /bin/bash
.DEFAULT_GOAL := help
TARGETS := demo test lint unit cloud sanity galaxy molecule lab-test prowler soak bench docs clean setup
.PHONY: help $(TARGETS)

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 12

ifneq ($(shell id -u),0)
# The lab's hosts are containers with networks of their own, which takes root
$(TARGETS):
	@sudo $(MAKE) --no-print-directory $@ $(MAKEOVERRIDES)
else

export PATH := $(CURDIR)/.cache/venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections

setup: ## Install what is missing: Debian packages and a virtual environment in .cache
	@tests/setup.sh

demo: setup ## Build a fleet, attack it, harden it, attack it again, verify it
	@tests/lab/demo.sh

test: setup ## Everything that CI runs
	@python tests/run.py

lint: setup ## ruff, yamllint, shellcheck, ansible-lint, documentation up to date
	@tests/lint.sh

unit: setup ## Unit tests of the plugins
	@pytest -n auto tests/unit

cloud: setup ## The cloud modules against servers that stand in for Amazon, Azure, Google and Alibaba
	@pytest tests/cloud

sanity: setup ## ansible-test sanity
	@tests/sanity.sh

galaxy: setup ## Build, install, use and import the collection
	@tests/galaxy.sh

molecule: setup ## Each role on hosts of its own; SCENARIO=ssh for one
	@python tests/run.py $(if $(SCENARIO),molecule-$(SCENARIO),$(patsubst molecule/%/molecule.yml,molecule-%,$(wildcard molecule/*/molecule.yml)))

lab-test: setup ## Faults, undo and the whole fleet, on lab hosts
	@EVERY_RELEASE=1 python tests/run.py $(patsubst tests/lab/test_%.py,lab-%,$(wildcard tests/lab/test_*.py))

prowler: setup ## Prowler's findings in an Amazon account before and after, on a stand-in (installs Prowler, a gigabyte)
	@python tests/cloud/prowler.py

soak: setup ## Two hundred runs killed at random points, or N (half an hour); SEED repeats an earlier choice
	@python tests/lab/soak.py --kills $(or $(N),200) $(if $(SEED),--seed $(SEED))

bench: setup ## Times of site against a bare ping, for 1, 4 and 20 hosts
	@python tests/lab/bench.py

docs: setup ## Write the roles' READMEs and docs/controls.md anew
	@python docs/generate.py

clean: ## Remove the lab's hosts, networks and images, and .cache
	@[ ! -x .cache/venv/bin/python ] || { python tests/lab/vm.py down --all; python tests/lab/lab.py down --all; }
	@rm -rf .cache

endif
