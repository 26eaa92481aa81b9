# make demo   explain real photographs with the real SqueezeNet 1.1
# make test   install what the tests need and run them all
# make fast   the tests that need neither torch nor a download, nor start a cluster
# make engine install onnxruntime-training, for the other engine of gradients
# make browser install Chromium, for the tests that open reports (Debian, as root)
# make lint   ruff and mypy
# make corpus instrument and check 45 architectures, and write docs/corpus.md; hours
# make bench  what a map costs beside torch and others, docs/benchmark.md, and what an audit takes
# make runtimes  the same models in several runtimes, and docs/runtimes.md; ten minutes
# make fuzz   judge mutated models; SEED=1 COUNT=1000
# make reproduce  the paper's experiments, docs/reproduction.md; an hour, or SIZE=--full
# Everything is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
DEMO ?= demo
# In the order of tests/conftest.py: what takes long begins first.
WORKERS ?= --numprocesses 2 --dist loadgroup --no-loadscope-reorder
SEED ?= 0
COUNT ?= 1000

SIZE ?=

.PHONY: demo test fast lint reproduce bench corpus fuzz runtimes samples clean

$(VENV)/.base: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fg-onnx needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) --editable '.[cpu]'
	touch $@

$(VENV)/.demo: $(VENV)/.base
	$(PIP) --group samples
	touch $@

# torchvision, timm and captum without their dependencies: they would bring a CUDA build of torch.
# Quantus without its own: opencv-python would write over opencv-python-headless. OpenVINO without
# its telemetry.
$(VENV)/.test: $(VENV)/.demo
	$(PIP) --group test --group lint --group torch
	$(PIP) --no-deps torchvision==0.28.0 timm==1.0.31 captum==0.9.0 quantus==0.6.0 \
		openvino==2026.4.1
	touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m sample_models.squeezenet -o $(DEMO)/squeezenet1.1.onnx
	$(BIN)/python -m sample_models.labels -o $(DEMO)/imagenet.txt
	$(BIN)/python -m sample_models.photos -o $(DEMO)/photos
	$(BIN)/fg-onnx instrument $(DEMO)/squeezenet1.1.onnx -o $(DEMO)/squeezenet1.1.fg.onnx \
		--preprocess caffe-bgr --labels $(DEMO)/imagenet.txt \
		--emit saliency,contributions,layer-maps
	$(BIN)/fg-onnx explain $(DEMO)/squeezenet1.1.fg.onnx $(DEMO)/photos \
		-o $(DEMO)/explanations --layers

# onnxruntime-training goes into an environment of its own, in the cache.
.PHONY: engine
engine: $(VENV)/.base
	$(BIN)/fg-onnx engine status > /dev/null 2>&1 || $(BIN)/fg-onnx engine install

# Chromium, to open reports in: as root on Debian it is installed, elsewhere their tests are skipped
# where there is none.
.PHONY: browser
browser:
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
			&& apt-get update --quiet=2 \
			&& DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --no-install-recommends \
				chromium fonts-dejavu-core > /dev/null; } \
		|| echo 'no Chromium: the tests of reports in a browser are skipped'

# Each worker has a core: more threads of theirs would take turns.
test fast: export OMP_NUM_THREADS ?= 1

test: $(VENV)/.test engine browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(WORKERS)

fast: $(VENV)/.test
	$(BIN)/python -m pytest $(WORKERS) \
		-m 'not torch and not network and not engine and not browser and not ray \
		and not runtimes'

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

reproduce: $(VENV)/.test
	$(BIN)/python -m reproduction $(SIZE)

# pytorch-grad-cam without its dependencies: opencv-python-headless is there under another name.
$(VENV)/.bench: $(VENV)/.test
	$(PIP) --no-deps grad-cam==1.5.7 ttach==0.0.3 onnx-ad==0.3.0
	touch $@

bench: $(VENV)/.bench engine
	$(BIN)/python -m benchmarks --json docs/benchmark.json --markdown docs/benchmark.md
	$(BIN)/python -m benchmarks.audit

fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz --seed $(SEED) --count $(COUNT)

runtimes: $(VENV)/.test
	$(BIN)/python -m tests.runtimes

corpus: $(VENV)/.test
	$(BIN)/python -m tests.corpus

samples: $(VENV)/.test
	$(BIN)/python -m sample_models.tiny -o $(DEMO)/tiny
	$(BIN)/python -m sample_models.fashion_vgg

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
