VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install quickstart test stress check format docs golden bench sweep clean

install: $(INSTALLED)  ## virtual environment, ftcli and developer tools

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED)  ## install, train on the built-in digits, evaluate
	$(BIN)/ftcli train configs/quickstart.yaml --name quickstart --overwrite
	$(BIN)/ftcli eval runs/quickstart

test: $(INSTALLED)  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

stress: $(INSTALLED)  ## 70,000 damaged files, a fault at every write, a kill at every instant: 20 minutes
	FTCLI_FUZZ=stress $(BIN)/python -m pytest -s tests/fuzz
	$(BIN)/python -m pytest -s -m stress

check: $(INSTALLED)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)  ## write docs/recipe.md and docs/commands.md
	$(BIN)/python docs/generate.py

golden: $(INSTALLED)  ## write tests/golden/errors.txt, the messages about typical mistakes
	cd tests && $(abspath $(BIN))/python -m helpers.mistakes

bench: $(INSTALLED)  ## time ftcli against the tutorials' loop, 40 minutes; FTCLI_HYMENOPTERA names the photographs
	$(BIN)/python benchmarks/run.py

sweep: $(INSTALLED)  ## train a network of every family, two hours, and write docs/networks.md; ARGS=swin for some
	$(BIN)/python benchmarks/sweep.py --processes 2 $(ARGS)

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
