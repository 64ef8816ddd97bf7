# Two commands: `make demo` and `make test`. Each builds what it needs on a machine with Python 3.11 and pip.
# `make demo ARGS="--family gram"` passes options on; `grmrewards demo --help` lists them.

PYTHON ?= python3
VENV := .venv
VENV_TRL022 := .venv-trl022
VENV_UNSLOTH := .venv-unsloth
VENV_LLAMA := .venv-llama
ARGS ?=
TRAINING := tests/training tests/ranks/test_training_on_ranks.py tests/test_transformers_judge.py tests/test_isolated_judge.py tests/test_adapter_judge.py
MAIN := "not trl and not ranks and not slow and not faults and not notebooks and not docs and not browser"
TIMED := $(patsubst %,tests/test_%.py,ahead asking batching cli endpoint_faults front_door hedging identity images isolated_judge \
	label_ids openai_judge pacing principles probe replay replicas reward runner selection server_check sharper_endpoint \
	transformers_judge vllm_judge votes)

# Models this small run fastest on one thread; two wait for each other.
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo figures faults test check test-main test-faults test-trl test-ranks test-trl022 test-unsloth test-package test-judge test-servers test-notebooks test-docs test-browser test-bench docs bench sharper judge-training notebooks hacking clean

demo: $(VENV)/.demo
	$(VENV)/bin/grmrewards demo $(ARGS)

# The README's table of figures: four families, three seeds.
figures: $(VENV)/.demo
	$(VENV)/bin/python benchmarks/demo_figures.py $(ARGS)

# The tables of docs/faults.md: a server that fails on purpose, what is lost, what it costs. About ten minutes.
faults: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/faults.py --write docs/faults.md $(ARGS)
	$(VENV)/bin/python benchmarks/endpoint.py --write docs/faults.md

# The tables and plots of docs/speed.md: each path of the local judge beside the naive way and its bound. About half an hour.
bench: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/speed.py --write docs/speed.md $(ARGS)

# The tables of docs/sharper.md: every way to a score, on nine judges. About half an hour, and as long again to train the judges.
sharper: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/sharper.py --write docs/sharper.md $(ARGS)

# The tables and the plot of docs/judge_training.md: judges with planted weaknesses, trained from preferences. Two and a half
# hours of one core.
judge-training: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/judge_training.py --write docs/judge_training.md $(ARGS)

# Run the notebooks on the small models of the package and store what they show. About three minutes.
notebooks: $(VENV)/.dev
	$(VENV)/bin/python notebooks/execute.py $(ARGS)

# The table of docs/watching.md: policies that learn to please flawed judges, and what the monitor says. An hour and a half.
hacking: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/hacking.py --write docs/watching.md $(ARGS)

# The documentation as a site, to be read without a network: docs/_build/html/index.html. A warning is an error.
docs: $(VENV)/.dev
	$(VENV)/bin/sphinx-build -W --keep-going -q -b html docs docs/_build/html

test: check test-main test-faults test-trl test-ranks test-trl022 test-unsloth test-package test-judge test-servers test-notebooks test-docs test-browser test-bench

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# At most 90 seconds; nothing beyond loopback, no sleeping, warnings are errors. What talks to servers and keeps deadlines has
# the machine for itself, the rest shares it between two processes. The file that is left out loads TRL.
test-main: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m $(MAIN) $(TIMED)
	$(VENV)/bin/python -m pytest -q -m $(MAIN) -n 2 $(addprefix --ignore=,$(TIMED) src/grmrewards/training/two_logits.py)

# A server that fails in every way of the fault matrix, at reduced size.
test-faults: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m faults

# Every trainer of TRL 1.16, in one process and in several.
test-trl: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m trl

test-ranks: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m ranks

# The same with the TRL 0.22.2 that Unsloth's notebooks pin.
test-trl022: $(VENV_TRL022)/.dev
	$(VENV_TRL022)/bin/python -m pytest -q $(TRAINING) tests/test_prefix_sharing.py tests/test_embedded_judge.py tests/test_examples.py tests/test_meta.py tests/test_vision_judge.py tests/test_gram_training.py tests/test_spct_training.py tests/test_reasongrm.py tests/ranks/test_pairs_on_ranks.py -m "not slow"

# TRL 1.15 as Unsloth pins it, Unsloth's own trainer, its table and its pictures, and the training runs again with Unsloth imported first.
test-unsloth: $(VENV_UNSLOTH)/.dev
	IMPORT_FIRST=unsloth $(VENV_UNSLOTH)/bin/python -m pytest -q tests/with_unsloth $(TRAINING) -m "not slow"

# The wheel, as a user gets it.
test-package: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m slow tests/test_package.py

# The shipped judge on held-out cases, short demos of every family and of the endpoint, the scripts of examples/, the audit on
# all its seeds, planted reward hacking, and ten
# thousand attacks on each chat format.
test-judge: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m slow tests --ignore=tests/test_package.py --ignore=tests/test_real_servers.py

# What real servers accept and ignore: `transformers serve`, and that of llama-cpp-python where it builds (it takes minutes).
test-servers: $(VENV)/.dev $(VENV_LLAMA)/.tried
	LLAMA_PYTHON=$(VENV_LLAMA)/bin/python $(VENV)/bin/python -m pytest -q -rs -m slow tests/test_real_servers.py

# Every notebook from its first cell to its last, and its install cell on an index of stand-ins.
test-notebooks: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m notebooks tests/notebooks

# The site is built, and every block of code in the README and the pages is executed, on the small models of the package.
test-docs: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -m docs -n 2 --dist loadscope tests/test_reference.py tests/test_blocks.py

# The page of `grmrewards report` in a headless Chromium, from file://. Debian's package is `chromium`.
test-browser: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -q -rs -m browser tests/test_report_in_browser.py

# The benchmark in small: it fails where a factor is lost, never over a time.
test-bench: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/speed.py --small

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -c constraints.txt -e ".[trl,report]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(VENV)/bin/pip install -q -c constraints.txt -e ".[trl,report,dev,docs]"
	touch $@

$(VENV_TRL022)/.dev: pyproject.toml constraints-trl022.txt
	$(PYTHON) -m venv $(VENV_TRL022)
	$(VENV_TRL022)/bin/pip install -q -c constraints-trl022.txt -e ".[trl,report,dev]"
	touch $@

$(VENV_UNSLOTH)/.dev: pyproject.toml constraints-unsloth.txt
	$(PYTHON) -m venv $(VENV_UNSLOTH)
	$(VENV_UNSLOTH)/bin/pip install -q -c constraints-unsloth.txt -e ".[trl,report,dev]"
	$(VENV_UNSLOTH)/bin/pip install -q -c constraints-unsloth.txt --no-deps unsloth unsloth_zoo
	touch $@

$(VENV_LLAMA)/.tried: constraints-llama.txt
	$(PYTHON) -m venv $(VENV_LLAMA)
	-$(VENV_LLAMA)/bin/pip install -q -c constraints-llama.txt "llama-cpp-python[server]" gguf
	touch $@

clean:
	rm -rf docs/_build $(VENV) $(VENV_TRL022) $(VENV_UNSLOTH) $(VENV_LLAMA) unsloth_compiled_cache dist build demo-output .hypothesis .mypy_cache .ruff_cache
