# Two commands: `make lab` opens the lessons, `make test` checks everything. Both set up what they need, once.

# On the command line: PYTHON=python3.12 for a certain Python (a suitable one is found by itself), NB=path for a notebook,
# PORT=9000 for the first port that JupyterLab tries, UPGRADE=1 for `make lock`.
RUN := .venv/bin/python
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup lab test test-integration test-notebook notebooks airflow bench site release-check lock format clean assignment grade

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
	@echo '  with PYTHON=python3.12 another Python is used, with PORT=9000 lab another port'

# The first command that runs at all starts tools/setup.py, which then looks for a Python that fits.
setup:  ## make .venv from requirements.lock (every target does this first; nothing happens when it is complete)
	@if [ -n "$(PYTHON)" ]; then \
		command -v "$(PYTHON)" >/dev/null || { echo 'PYTHON=$(PYTHON): there is no such command.'; exit 1; }; \
		exec "$(PYTHON)" tools/setup.py --exactly; \
	fi; \
	for python in .venv/bin/python python3 python3.13 python3.12 python3.11 python; do \
		if "$$python" -c pass >/dev/null 2>&1; then exec "$$python" tools/setup.py; fi; \
	done; \
	echo 'There is no Python here. Install 3.11, 3.12 or 3.13 (Debian, Ubuntu: sudo apt install python3 python3-venv),'; \
	echo 'or name one that is not on PATH: make PYTHON=/path/to/python3.12 lab'; exit 1

lab: setup  ## open the lessons in JupyterLab; your own copy of them is in work/
	@exec $(RUN) tools/lab.py $(if $(PORT),--port $(PORT))

test: setup  ## run all tests: the code's, every lesson, and that nothing is left behind
	@exec $(RUN) tools/run_tests.py

test-integration: setup  ## run the tests that need containers; prepares an engine where it can; RECORD=1 writes what lesson 06 reads
	@exec $(RUN) tools/integration.py $(if $(RECORD),--record)

test-notebook: setup  ## run one notebook, yours too, as strictly as the lessons: make test-notebook NB=path
	@exec $(RUN) tools/run_tests.py --notebook "$(NB)"

notebooks: setup  ## execute the lessons and store their outputs (where they have changed)
	@exec $(RUN) tools/notebooks.py $(if $(NB),"$(NB)")

airflow: setup  ## run Airflow on Celery without Docker, on this machine only; WORKERS=5, PORT=8080; Ctrl-C stops it
	@PYTHONPATH=compose exec $(RUN) tools/native_airflow.py $(if $(WORKERS),--workers $(WORKERS)) $(if $(PORT),--port $(PORT))

bench: setup  ## measure what the lessons state; writes benchmarks/ and the README's table (a quarter of an hour; keep the machine quiet)
	@exec $(RUN) benchmarks/run.py

site: setup  ## build the readable edition, lessons and documentation of the code, in build/site
	@exec $(RUN) tools/build_site.py

release-check: setup  ## what takes too long for every push (hours); goes on after an interruption; ONLY=browser for a piece
	@exec $(RUN) tools/release_check.py $(if $(ONLY),--only $(ONLY))

assignment: setup  ## make a graded assignment in course/: LESSON=04, or LIST=file; EXERCISES, POINTS, DUE, SEED, FORCE=1 as you like
	@exec $(RUN) tools/assignment.py $(if $(LESSON),--lesson "$(LESSON)") $(if $(LIST),--list "$(LIST)") $(if $(SEED),--seed "$(SEED)") \
		--exercises "$(EXERCISES)" --points "$(POINTS)" --due "$(DUE)" $(if $(COURSE),--course "$(COURSE)") $(if $(FORCE),--force)

grade: setup  ## grade the notebooks in SUBMISSIONS=folder/STUDENT/: course/grades.csv and feedback
	@exec $(RUN) tools/grade.py $(if $(SUBMISSIONS),--submissions "$(SUBMISSIONS)") $(if $(COURSE),--course "$(COURSE)")

lock: setup  ## pin all dependencies anew after a change of pyproject.toml; UPGRADE=1 takes the newest releases
	@exec $(RUN) tools/lock.py $(if $(UPGRADE),--upgrade)

format: setup  ## format the code, that in notebooks too
	@$(RUN) -m ruff format && $(RUN) -m ruff check --fix

clean:  ## remove what set-up and tests have made; never work/
	rm -rf .venv .state build .pytest_cache .ruff_cache .hypothesis
