# Two commands: `make lab` opens the lessons, `make test` checks everything. Both set up what they need, once.

# On the command line: PYTHON=python3.12 for a certain Python (a suitable one is found by itself), NB=path for a notebook,
# PORT=9000 for the first port that JupyterLab tries, LANGUAGE=es for the lessons in Spanish, UPGRADE=1 for `make lock`.
RUN := .venv/bin/python
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup lab test test-integration test-notebook notebooks airflow bench translations site links release-check lock format clean assignment grade

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
	@echo '  with PYTHON=python3.12 another Python is used, with PORT=9000 lab another port'

# Two stamps say what is installed: .venv/.lab what lessons need, .venv/.dev also what tests, pages and benchmarks need.
# They are out of date, too, when the folder was moved, when the Python is gone or has become another version, or when PYTHON names
# one of another version, or none.
PYTHONS := $(if $(PYTHON),"$(PYTHON)",$(if $(wildcard .venv/pyvenv.cfg),.venv/bin/python) python3 python3.14 python3.13 python3.12 python3.11)
CURRENT := $(shell [ -x .venv/bin/python ] && grep -sqF " $$(pwd -P)/.venv" .venv/pyvenv.cfg && \
	version=$$("$(or $(PYTHON),.venv/bin/python)" -c 'import sys; print("%d.%d." % sys.version_info[:2])' 2>/dev/null) && \
	[ -n "$$version" ] && grep -qF "version = $$version" .venv/pyvenv.cfg && echo yes)

.venv/.lab: requirements.lock tools/requirements.lock pyproject.toml $(if $(CURRENT),,anew)
.venv/.dev: requirements-dev.lock tools/requirements.lock pyproject.toml $(if $(CURRENT),,anew)
.PHONY: anew

# Each Python is asked whether it fits. Status 3: it does not. Status 4: it is newer than the tested ones, and is tried if no other fits.
.venv/.lab .venv/.dev:
	@newer=; for python in $(PYTHONS); do \
		"$$python" -c pass 2>/dev/null || continue; \
		"$$python" tools/setup.py $(@:.venv/.%=%); status=$$?; \
		case $$status in 3) ;; 4) newer=$$python ;; *) exit $$status ;; esac; \
	done; \
	[ -z "$$newer" ] || exec "$$newer" tools/setup.py $(@:.venv/.%=%) --newer; \
	echo '$(if $(PYTHON),PYTHON=$(PYTHON) does not fit,No Python here fits): this project needs 3.11, 3.12, 3.13 or 3.14, with its module venv.'; \
	echo 'Install one (Debian, Ubuntu: sudo apt install python3 python3-venv; Fedora, RHEL: sudo dnf install python3.12),'; \
	echo 'or name one that is not on PATH: make PYTHON=/path/to/python3.12 lab'; exit 1

setup: .venv/.lab  ## make .venv, with what lessons need (each target does first what it needs; nothing happens when it is up to date)

lab: .venv/.lab  ## open the lessons in JupyterLab; your own copy of them is in work/
	@exec $(RUN) tools/lab.py $(if $(PORT),--port $(PORT)) $(if $(filter command,$(origin LANGUAGE)),--language "$(LANGUAGE)")

test: .venv/.dev  ## run all tests: the code's, every lesson, and that nothing is left behind
	@exec $(RUN) tools/run_tests.py

test-integration: .venv/.dev  ## run the tests that need containers; prepares an engine where it can; RECORD=1 writes what lesson 09 reads
	@exec $(RUN) tools/integration.py $(if $(RECORD),--record)

test-notebook: .venv/.dev  ## run one notebook, yours too, as strictly as the lessons: make test-notebook NB=path
	@exec $(RUN) tools/run_tests.py --notebook "$(NB)"

notebooks: .venv/.dev  ## execute the lessons and store their outputs (where they have changed)
	@exec $(RUN) tools/notebooks.py $(if $(NB),"$(NB)")

airflow: .venv/.lab  ## run Airflow on Celery without Docker, on this machine only; WORKERS=5, PORT=8080; Ctrl-C stops it
	@exec $(RUN) -m lib.stage.native_airflow $(if $(WORKERS),--workers $(WORKERS)) $(if $(PORT),--port $(PORT))

bench: .venv/.dev  ## measure what the lessons state; writes benchmarks/ and the table of site/code.md (a quarter of an hour; keep the machine quiet)
	@exec $(RUN) benchmarks/run.py

translations: .venv/.dev  ## bring the catalogues of other languages in step with the lessons, and list what is left to translate
	@exec $(RUN) tools/translations.py

site: .venv/.dev  ## build the readable edition, lessons and documentation of the code, in build/site
	@exec $(RUN) tools/build_site.py

links: .venv/.dev  ## follow all links to other sites; needs a network
	@exec $(RUN) tools/build_site.py --links

release-check: .venv/.dev  ## what takes too long for every push (hours); goes on after an interruption; ONLY=browser for a piece
	@exec $(RUN) tools/release_check.py $(if $(ONLY),"$(ONLY)")

assignment: .venv/.lab  ## make a graded assignment in course/: LESSON=05; EXERCISES, POINTS, DUE, SEED, FORCE=1 as you like
	@exec $(RUN) tools/assignment.py --lesson "$(LESSON)" $(if $(SEED),--seed "$(SEED)") \
		--exercises "$(EXERCISES)" --points "$(POINTS)" --due "$(DUE)" $(if $(COURSE),--course "$(COURSE)") $(if $(FORCE),--force)

grade: .venv/.lab  ## grade the notebooks in SUBMISSIONS=folder/STUDENT/: course/grades.csv and feedback
	@exec $(RUN) tools/grade.py $(if $(SUBMISSIONS),--submissions "$(SUBMISSIONS)") $(if $(COURSE),--course "$(COURSE)")

# One lock for all Pythons, so that outputs agree; with hashes, and without an address or anything that a developer has configured.
COMPILE = env $$(env | sed -n 's/^\(UV_[A-Z_]*\)=.*/-u \1/p') .venv/bin/uv pip compile $(if $(UPGRADE),--upgrade) --no-config --universal \
	--python-version=3.11 --fork-strategy=fewest --generate-hashes --no-emit-index-url --no-header --quiet

lock: .venv/.dev  ## pin all dependencies anew after a change of pyproject.toml; UPGRADE=1 takes the newest releases
	@$(COMPILE) pyproject.toml --extra=lab --output-file requirements.lock >/dev/null
	@$(COMPILE) pyproject.toml --all-extras --constraints=requirements.lock --output-file requirements-dev.lock >/dev/null
	@for folder in tools compose/airflow compose/service tests/integration; do \
		$(COMPILE) $$folder/requirements.in --output-file $$folder/requirements.lock >/dev/null || exit; \
	done
	@echo "The locks are written: git diff shows what has changed. make test shows whether the lessons' outputs still hold,"
	@echo "and tests/test_environment.py which lines of environment.yml must be updated."

format: .venv/.dev  ## format the code, that in notebooks too
	@$(RUN) -m ruff format && $(RUN) -m ruff check --fix

clean:  ## remove what set-up and tests have made; never work/
	rm -rf .venv .state build .pytest_cache .ruff_cache .hypothesis
