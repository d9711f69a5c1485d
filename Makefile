# `make` lists the targets. Needed beforehand: Python 3.11 or newer with venv, and make.

PYTHON ?= python3
RUNS ?=

# Compiled modules are kept, whatever the environment sets: demo and tests start many processes.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
READY := .venv/ready
SITE := build/site-tool
PAGES := CHANGELOG.md CONTRIBUTING.md LICENSE README.md SECURITY.md docs examples clients
UNLINKED := build/unlinked# import-linter follows no links

.DEFAULT_GOAL := help
.PHONY: attacks bench bench-apply bench-long big check check-all clean compose-check demo docs faults faults-long fmt help lint page pin-images release sbom setup site test test-attacks test-clients test-containers test-fast test-install test-slow test-upgrade types

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Makes .venv with everything in it; the others do it themselves

demo: $(READY) ## Runs agent graphs through real servers until Ctrl-C, or RUNS=n of them
	$(BIN)/execstream demo $(if $(RUNS),--runs $(RUNS) --exit)

SIDE_BY_SIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
APART := not attacks and not fetched and not install and not upgrade

test: $(READY) ## Runs the tests on real servers: the quick ones, and one of each promise
	$(BIN)/python -m tests.dashboard.page.browser
	$(BIN)/pytest -m "$(APART) and (promise or not slow)" $(SIDE_BY_SIDE)

test-slow: $(READY) ## Runs those that take more than 10 seconds each: kills, faults, long repairs
	$(BIN)/python -m tests.dashboard.page.browser
	$(BIN)/pytest -m "$(APART) and slow and not promise" $(SIDE_BY_SIDE)

test-fast: $(READY) ## Runs the tests that need no server, within a minute
	$(BIN)/pytest tests/rules tests/model tests/fuzz -m "not attacks and not slow" --numprocesses 2

test-install: $(READY) ## Builds the wheel and sdist and tries them in clean environments
	$(BIN)/pytest -m install tests/install

test-upgrade: $(READY) ## Continues a state directory of the release before with this code
	$(BIN)/pytest -m upgrade tests/upgrade

test-attacks: $(READY) ## Sends every field of every command at its extremes and known attacks, plants unreadable rows, fuzzes
	$(BIN)/pytest -m attacks tests/attacks tests/dashboard tests/fuzz tests/model --numprocesses 2 --dist loadfile

attacks: $(READY) ## The same, one after the other, on an idle machine: fails when others wait for long
	EXECSTREAM_TEST_STANDSTILLS=1 $(BIN)/pytest -m attacks tests/attacks --capture=no

test-clients: $(READY) ## Tries clients of other languages, and a pooler
	$(BIN)/python -m tests.fetching
	$(BIN)/pytest -m fetched tests/clients tests/whole

page: $(READY) ## Tests the page alone, in Debian's chromium
	$(BIN)/python -m tests.dashboard.page.browser
	$(BIN)/pytest -m browser tests/dashboard/page

check: lint types ## Everything that must be in order before a change goes in
	$(MAKE) test

check-all: check ## That, slow tests, installations and upgrades: what CI runs
	$(MAKE) test-slow
	$(MAKE) test-install
	$(MAKE) test-upgrade
	$(MAKE) test-clients
	$(MAKE) test-attacks

bench: $(READY) ## Measures execstream beside its contenders, in 10 minutes, and writes docs/performance.md
	@failed=0; $(BIN)/python -m bench.compare --save >/dev/null || failed=1; \
		$(BIN)/python -m bench.report && $(BIN)/python -m docs.generate && exit $$failed

bench-long: $(READY) ## The same with at least 300,000 commands each; then growth, readers, idling, replay
	@failed=0; for measured in "compare --long" "growth --long" readers idle replay; do \
		$(BIN)/python -m bench.$$measured --save >/dev/null || failed=1; done; \
		$(BIN)/python -m bench.report && $(BIN)/python -m docs.generate && exit $$failed

bench-apply: $(READY) ## Compares the CPU of applying a command with that of an older commit
	$(BIN)/python -m bench.apply_cpu

big: $(READY) ## Times the reads at 1,000,000 runs and 10,000,000 steps
	$(BIN)/python -m bench.big

faults: $(READY) ## Injects each fault under load, in 10 minutes, and writes docs/faults.md
	@failed=0; $(BIN)/python -m tests.faults --save || failed=1; \
		$(BIN)/python -m docs.generate && exit $$failed

faults-long: $(READY) ## The same as often as the long round has it, in some hours, and fuzzes for 10 minutes
	@failed=0; $(BIN)/python -m tests.faults --long --save || failed=1; \
		$(BIN)/python -m tests.fuzz 10 || failed=1; \
		$(BIN)/python -m docs.generate && exit $$failed

compose-check: $(READY) ## Brings docker-compose.yml up, sends runs, kills workers, and takes all down
	$(BIN)/python -m tests.containers.compose_check

pin-images: $(READY) ## Writes the digests of the images of docker-compose.yml into .env
	$(BIN)/python ops/pin_images.py

sbom: $(READY) ## Writes the bill of materials of the image's Python packages: build/sbom.json
	rm -rf build/sbom
	$(BIN)/python -m venv build/sbom/tool
	build/sbom/tool/bin/python ops/install_packages.py ops/sbom/requirements.txt
	$(BIN)/python -m venv --without-pip build/sbom/image
	$(BIN)/python -m hatchling build -t wheel -d build/sbom
	$(BIN)/python -m pip --python build/sbom/image install --quiet --disable-pip-version-check \
		--only-binary :all: --require-hashes -r ops/image/requirements.txt
	$(BIN)/python -m pip --python build/sbom/image install --quiet --disable-pip-version-check \
		--no-deps --no-index --find-links build/sbom execstream
	build/sbom/tool/bin/cyclonedx-py environment --output-reproducible --output-file build/sbom.json \
		build/sbom/image

release: $(READY) ## Builds wheel, sdist, chart, bill of materials, and the image where an engine answers: dist/
	rm -rf dist
	EXECSTREAM_TEST_DIST=$(CURDIR)/dist $(MAKE) test-install
	$(MAKE) sbom
	$(BIN)/pytest -m fetched tests/clients/test_helm_chart.py
	build/helm/helm package ops/helm/execstream --destination dist
	cp build/sbom.json dist
	if $(BIN)/python -m tests.containers.engine; then $(MAKE) compose-check; fi
	cd dist && sha256sum * > SHA256SUMS

test-containers: $(READY) ## Runs the integration tests against servers in containers
	$(BIN)/python -m tests.containers

docs: $(READY) ## Writes the generated parts of the manuals
	$(BIN)/python -m docs.generate

site: $(SITE)/ready ## Builds the documentation as a site, offline and without a dead link: build/site
	rm -rf build/site-pages && mkdir -p build/site-pages
	for page in $(PAGES); do ln -s "../../$$page" build/site-pages/; done
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --config-file ops/site/mkdocs.yml

fmt: $(READY) ## Formats the code and mends what ruff and biome can mend
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format
	$(BIN)/python -m tests.dashboard.page.page_tools --fix

lint: $(READY) ## Checks format, style, types of the page, and which package may import which
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/python -m tests.dashboard.page.page_tools
	rm -rf $(UNLINKED) && mkdir -p $(UNLINKED) && cp -RL src/execstream $(UNLINKED)
	PYTHONPATH=$(UNLINKED) $(BIN)/lint-imports

types: $(READY) ## Checks the types
	$(BIN)/mypy

clean: ## Removes .venv and caches; the local stack's data in .execstream stays
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is missing or older than Python 3.11: name another," \
			"as in: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv: install it (on Debian and Ubuntu: apt install" \
			"python3-venv), or name another Python, as in: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version): 450 MB, a minute or two the first time."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python ops/install_packages.py requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(SITE)/ready: ops/site/requirements.txt
	@$(PYTHON) -m venv --clear $(SITE)
	@$(SITE)/bin/python ops/install_packages.py ops/site/requirements.txt
	@touch $@
