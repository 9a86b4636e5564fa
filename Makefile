# SPDX-License-Identifier: Apache-2.0
# Every target makes what it needs in .venv, from PyPI, and nothing else. Needed on the machine:
# Python >= 3.11 with venv, a C++20 compiler, make.
#
#   make demo       a net trained beside scikit-learn, one taken over, measured; writes demo.png
#   make test       the suite, on every instruction set of this machine; older ones, and sanitizers,
#                   take a quarter of the cases of large tests, with WHOLE=1 all of them
#   make bench      all tasks against all rivals that can be installed; writes build/bench.json
#   make ulp        errors of the float32 functions over all inputs (half an hour on two cores);
#                   writes tests/cpp/ulp.md. With STRIDE=257 every 257th input, writing nothing
#   make products   the kernels of products against their definition, bit for bit
#   make costs      what kernels cost beside the figures that decide on threads (cpp/kernels/cost.h);
#                   fails where one is off by a factor of two, for the machine they were measured on
#   make corners    every ONNX operator at its corners against two oracles, CASES=200 of each; prints
#                   what was found and how many cases ended how
#   make lint       formatting, types, stub, clang-tidy
#   make fuzz       fuzzes the ONNX door, SECONDS=600 a target; findings come to build/fuzz/found
#   make sanitize   the suite under ASan and UBSan, the concurrency tests under TSan
#   make wheel      sdist and, out of it, a wheel in a fresh environment; checks sizes and import
#   make stub       writes python/lamella/_core.pyi from the compiled module
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test bench ulp products costs corners lint fuzz sanitize asan tsan wheel stub parity clean

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
CXX_FILES := $(shell find cpp tests -name '*.cpp' -o -name '*.h')
SOURCES := CMakeLists.txt pyproject.toml README.md LICENSE \
  $(shell find cpp python benchmarks -type f -not -name '*.so' -not -name '*.pyc')

demo: .venv/with-demo
	$(BIN)/lamella demo --plot demo.png

# The best instruction set with two threads, its tests side by side but for those that judge times;
# then every older one with one thread, side by side. Tests that go through instruction sets by
# themselves, and rooms without a kernel of their own, need no second pass, and many cases of one test
# are sampled there (WHOLE=1: all of them); parity tests have a run of their own, as they set OpenMP's threads,
# PyTorch's, for the whole process.
JOBS ?= $(shell nproc)
BESIDE = -n $(JOBS) --dist worksteal --max-worker-restart 0 --benchmark-disable
SAMPLED := $(if $(WHOLE),,--sampled)
AGAIN := --again $(SAMPLED) $(addprefix --ignore=tests/,house cli parity storage ir passes sklearn \
  test_comparators.py test_habits.py onnx/test_hostile.py onnx/test_limits.py onnx/test_reader.py \
  runtime/test_signature.py runtime/test_trace.py runtime/test_watch.py train/test_interrupt.py)
test: .venv/with-test
	mkdir -p build
	isas=($$($(BIN)/python -c 'from lamella import _core; all = _core.isas(); print(*(i for i in reversed(all) if i + "_vnni" not in all))')); \
	export LAMELLA_ISA=$${isas[0]} LAMELLA_NUM_THREADS=2; \
	echo "== pytest: LAMELLA_ISA=$$LAMELLA_ISA LAMELLA_NUM_THREADS=2"; \
	$(PYTEST) $(BESIDE) --ignore=tests/parity -m "not alone"; \
	$(PYTEST) -m alone $$(grep -rl --include='test_*.py' 'pytest\.mark\.alone' tests); \
	older=("$${isas[@]:1}"); runs=(); status=0; export LAMELLA_NUM_THREADS=1; \
	trap 'kill "$${runs[@]}" 2> /dev/null || true' EXIT; \
	for isa in "$${older[@]}"; do \
	  LAMELLA_ISA=$$isa $(PYTEST) $(AGAIN) > build/test-$$isa.log 2>&1 & runs+=($$!); \
	done; \
	for i in "$${!older[@]}"; do \
	  wait "$${runs[i]}" || status=1; \
	  echo "== pytest: LAMELLA_ISA=$${older[i]} LAMELLA_NUM_THREADS=1"; cat build/test-$${older[i]}.log; \
	done; \
	exit $$status

# Against PyTorch. Not part of `test`: its default wheel brings CUDA along.
parity: .venv/with-test,parity
	$(PYTEST) $(BESIDE) tests/parity

bench: .venv/with-bench
	mkdir -p build
	$(BIN)/python benchmarks/run.py --all --json build/bench.json

STRIDE ?= 1
ulp: .venv/with-test
	$(call check_program,ulp_sweep)
	$(BUILT)/tests/cpp/ulp_sweep --stride $(STRIDE) --threads $$(nproc) \
	  $(if $(filter 1,$(STRIDE)),--table tests/cpp/ulp.md)

products: .venv/with-test
	$(call check_program,gemm_check)
	$(BUILT)/tests/cpp/gemm_check

costs: .venv/with-test
	$(call check_program,cost_check)
	$(BUILT)/tests/cpp/cost_check

# The same cases at every run; FIRST=200 draws others. tests/onnx/test_corners.py takes the first 20.
CASES ?= 200
FIRST ?= 0
corners: .venv/with-test
	PYTHONPATH=tests $(BIN)/python -m corners.run --cases $(CASES) --first $(FIRST)

lint: .venv/with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types && mkdir -p build/types
	cp -rs "$$PWD/python/lamella" build/types/ && rm -rf build/types/lamella/benchmarks
	cp -rsT "$$PWD/benchmarks" build/types/lamella/benchmarks
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	rm -rf build/stub && $(BIN)/python .ci/make_stub.py build/stub
	diff -u python/lamella/_core.pyi build/stub/lamella/_core.pyi
	$(call configure,build/tidy,-DLAMELLA_WERROR=OFF -DCMAKE_EXPORT_COMPILE_COMMANDS=ON)
	$(BIN)/run-clang-tidy.py -clang-tidy-binary $(BIN)/clang-tidy -p build/tidy -quiet -j $$(nproc) \
	  -extra-arg=-idirafter$$(gcc -print-file-name=include) \
	  "$$PWD/cpp/.*" > build/tidy.log 2>&1 \
	  || { grep -E 'error|warning' build/tidy.log; exit 1; }

stub: .venv/with-dev
	rm -rf build/stub && $(BIN)/python .ci/make_stub.py build/stub
	cp build/stub/lamella/_core.pyi python/lamella/_core.pyi

# Coverage-guided. What was new is kept in build/fuzz for the next time; a finding ends it with an
# error, and belongs into tests/onnx/corpus with its cure. FUZZ takes more of libFuzzer's options.
SECONDS ?= 600
fuzz: .venv/with-test .venv/fuzzer
	[ -d build/fuzz/seeds ] || $(BIN)/python tests/fuzz/seeds.py build/fuzz/seeds
	for target in wire door; do \
	  mkdir -p build/fuzz/found build/fuzz/$$target; \
	  $(BIN)/python tests/fuzz/run.py $$target -max_total_time=$(SECONDS) -max_len=16384 \
	    -timeout=30 -rss_limit_mb=2048 -print_final_stats=1 $(FUZZ) \
	    -artifact_prefix=build/fuzz/found/$$target- \
	    build/fuzz/$$target tests/onnx/corpus/$$target build/fuzz/seeds; \
	done

sanitize: asan tsan

# Left out is what runs no C++ of its own: files are read and written in Python, scikit-learn's
# door trains as tests/train does, and tests/ops/test_product_error.py judges the rounding of products
# whose memory tests/ops/test_product.py goes through. Of the rest tests that take no `isa` are sampled.
# A sanitizer's run-time library has to come first in an uninstrumented python; libstdc++ comes
# with it, or the interceptor of exceptions would find none.
PRELOAD = LD_PRELOAD="$$(gcc -print-file-name=$(1)) $$(gcc -print-file-name=libstdc++.so.6)"

asan: .venv/with-test
	$(call configure,build/asan,-DLAMELLA_SANITIZE=address$(comma)undefined)
	$(call site,build/asan)
	rm -f build/asan/report*
	PYTHONPATH=$$PWD/build/asan/site PYTHONMALLOC=malloc $(call PRELOAD,libasan.so) \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$$PWD/build/asan/report \
	  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:log_path=$$PWD/build/asan/report \
	  $(PYTEST) $(BESIDE) $(SAMPLED) -m "not memory" $(addprefix --ignore=tests/,house cli parity \
	  storage sklearn test_comparators.py test_habits.py ops/test_product_error.py \
	  onnx/test_limits.py onnx/test_reader.py) \
	  || { cat build/asan/report* 2> /dev/null; exit 1; }

# Left out: forks (this sanitizer follows no threads started after one), and parameters that are
# changed while others compute with them (a race by design: which of the values they see is open).
tsan: .venv/with-test
	$(call configure,build/tsan,-DLAMELLA_SANITIZE=thread -DLAMELLA_THREADS=std)
	$(call site,build/tsan)
	PYTHONPATH=$$PWD/build/tsan/site $(call PRELOAD,libtsan.so) \
	  TSAN_OPTIONS=halt_on_error=1:die_after_fork=0 LAMELLA_NUM_THREADS=4 \
	  setarch $$(uname -m) -R $(PYTEST) -s tests/runtime/test_threads.py tests/process/test_models.py \
	  tests/runtime/test_sizes.py::test_threads_that_bring_sizes_at_once \
	  tests/runtime/test_sizes.py::test_forgetting_while_sizes_are_made \
	  tests/runtime/test_folding.py::test_threads_that_fold_at_once \
	  tests/sizes/test_hostile.py::test_new_sizes_at_once \
	  tests/sizes/test_hostile.py::test_a_step_and_calls_of_its_net_at_once \
	  -k "not Fork and not child_process and not parameters_changed"

wheel: .venv/with-dev
	rm -rf dist build/fresh
	$(BIN)/python -m build --sdist
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/python -m pip --quiet wheel --no-deps --wheel-dir dist dist/lamella-*.tar.gz
	build/fresh/bin/python -m pip --quiet install dist/lamella-*.whl
	cd build && fresh/bin/python ../.ci/check_wheel.py ../dist

clean:
	rm -rf .venv build dist

# .venv with the build tools; pip itself first, because --group is younger than Debian's pip.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group build
	touch $@

# lamella, rebuilt incrementally in build/ when a source has changed, while what the named extras
# need is brought from PyPI.
NEEDED := import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
  extras = [project["optional-dependencies"][name] for name in sys.argv[1].split(",")]; \
  print(*project["dependencies"], *sum(extras, []), sep="\n")
.venv/with-%: .venv/ready $(SOURCES)
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -c '$(NEEDED)' '$*' > build/wheel/needed
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheel . & core=$$!; \
	  trap 'kill $$core 2> /dev/null || true' EXIT; \
	  $(PIP) install --requirement build/wheel/needed; wait $$core
	$(PIP) install --no-deps --force-reinstall build/wheel/lamella-*.whl
	touch $@

.venv/fuzzer: .venv/ready
	$(PIP) install --group fuzz
	touch $@

comma := ,

# Where pip builds the core, as pyproject.toml says.
BUILT = build/$(shell $(BIN)/python -c 'import sys, sysconfig; \
  tag = "cp%d%d" % sys.version_info[:2]; \
  print(tag, tag, sysconfig.get_platform().translate({45: 95, 46: 95}), sep="-")')

# configure,FOLDER,OPTIONS: one more build of the core, beside the installed one.
configure = PATH="$$PWD/$(BIN):$$PATH" cmake -S . -B $(1) -G Ninja $(2) \
  -DPython_EXECUTABLE="$$PWD/$(BIN)/python" \
  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" > $(1).log 2>&1 \
  || { cat $(1).log; exit 1; }

# check_program,NAME: builds a program of tests/cpp in the folder and out of the objects of
# the installed core.
define check_program
PATH="$$PWD/$(BIN):$$PATH" cmake -DLAMELLA_CHECKS=ON $(BUILT) > build/checks.log || { cat build/checks.log; exit 1; }
PATH="$$PWD/$(BIN):$$PATH" cmake --build $(BUILT) --target $(1)
endef

# site,FOLDER: builds it and lays an importable package into FOLDER/site.
define site
PATH="$$PWD/$(BIN):$$PATH" cmake --build $(1)
rm -rf $(1)/site && mkdir -p $(1)/site
cp -r python/lamella $(1)/site/ && rm -rf $(1)/site/lamella/{*.so,benchmarks}
cp -rT benchmarks $(1)/site/lamella/benchmarks
PATH="$$PWD/$(BIN):$$PATH" cmake --install $(1) --prefix $(1)/site
endef
