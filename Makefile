# Every target works alone on a machine that has make, and Python 3.11 or apt. `make` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo demo-openstack demo-rollout guide-three-ways test check lint bench nightly docs clean lint_python lint_playbooks \
    demo_environment test_environment browser_environment

# Tools start their siblings by name (ansible-lint: ansible-playbook).
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1:/p' Makefile | while IFS=: read -r target text; do \
	    printf '  make %-16s  %s\n' "$$target" "$$text"; done

demo: demo_environment ## the whole guide on real servers of this machine
	@dbmod demo

demo-openstack: test_environment ## the same on a real OpenStack, started on this machine for it; needs root
	@python -m tests.beds cloud dbmod demo --provider openstack

demo-rollout: test_environment ## a rollout over fifty SSH hosts and two clusters, with all that can go wrong; needs root
	@python -m tests.stories.rollout $(if $(RECORD),--record $(RECORD))

guide-three-ways: test_environment ## by the command, ansible-playbook and AWX's way, on SSH hosts: the ledgers compared; needs root
	@pytest -m nightly tests/end_to_end/test_guide_three_ways.py

test: test_environment lint ## everything: linters, unit, contract, integration, end to end
	@scripts/run_tests

check: test_environment lint ## before every commit, under two minutes: linters, unit, contract
	@pytest tests/unit tests/contract -n auto --dist loadfile

lint: test_environment ## ruff, mypy, ansible-lint
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint_python lint_playbooks

lint_python:
	ruff check
	ruff format --check
	mypy
	set -e; for file in roles/*/*.py; do mypy "$$file"; done  # one by one, as many bear the same name

lint_playbooks:
	ansible-lint --offline --profile production playbooks roles inventory awx

bench: test_environment ## time, memory and growth: every script of tests/bench
	@set -e; for script in tests/bench/[a-z]*.py; do \
	    printf '\n== %s\n' "$$script"; PYTHONPATH=. python "$$script"; \
	done

nightly: browser_environment lint ## also the long trials, and the tests with the newest ansible-core
	@status=0; \
	pytest -m "nightly or not nightly" --durations=10 || status=1; \
	set_up=0; scripts/set_up newest || set_up=$$?; \
	if [ $$set_up = 0 ]; then \
	    PATH="$(CURDIR)/.venv-newest/bin:$$PATH" ; export PATH; \
	    ansible --version | head -n 1; \
	    python -m pytest --durations=10 || status=1; \
	else echo 'NOT RUN: the tests with the newest ansible-core, for the reason above' >&2; \
	    [ $$set_up = 3 ] || status=1; fi; \
	exit $$status

docs: test_environment ## write the references in docs/ and the job templates from commands and playbooks
	@python scripts/cli_reference.py
	@python scripts/playbook_reference.py
	@python scripts/awx_templates.py

clean: ## remove what the other targets made in this directory; no server, no ledger
	rm -rf .venv .venv-newest .ansible .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

demo_environment:
	@scripts/set_up demo

test_environment:
	@scripts/set_up test

browser_environment:
	@scripts/set_up browser
