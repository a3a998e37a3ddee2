# Every target is a few readable lines; a contributor needs Rust, a C compiler and make, and nothing else.
# Installed on demand, where it can be: the real programs that some tests talk to (tests/tools/counterparts.sh).

CARGO ?= cargo
COUNTERPARTS ?= target/counterparts
SIZE ?= 5000
TURNS ?= 100000
INPUTS ?= 100000
RELEASE ?= $(or $(CARGO_TARGET_DIR),target)/release
MESSAGE ?= Hello from a fresh clone

.PHONY: check test run bench crowd campaign soak soak-turns fuzz controls sanitizer counterparts images \
	dist dist-all package verify-package image verify-container sbom supply-chain readiness rusty-pinch-readiness deploy-check rusty-pinch-deploy-check

# Before every commit: format, lints and the links of documents in the sources as errors, all tests in their short form.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(CARGO) test --locked

# What a merge needs: the check with the real counterparts in place, then the fault campaign in its medium form.
# Where all counterparts could be installed, a test that does not find its own fails.
test: counterparts
	required=; [ "$$(ls $(COUNTERPARTS)/*.stamp 2>/dev/null | wc -l)" -eq 3 ] && required=1; \
		RP_COUNTERPARTS=$(abspath $(COUNTERPARTS)) RP_COUNTERPARTS_REQUIRED=$$required $(MAKE) check
	$(MAKE) campaign images

# Each test by itself, twelve times and twelve at once: what fails only on a busy machine. About twenty minutes.
crowd:
	RP_COUNTERPARTS=$(abspath $(COUNTERPARTS)) tests/tools/crowd.sh

# Real crashes under load, each followed by a restart and judged from outside: 100 kill -9, 20 SIGTERM, kills at system
# calls, 100 injected errors, 40 power cuts, full disks. The evidence is in target/campaign/*.json.
campaign:
	RP_TEST_CASES=100 $(CARGO) test --locked --test it -- --nocapture --test-threads 1 campaign:: faults::

# The long form of the same, with the release build: 5000 random kills and 4000 at system calls, 2000 power cuts, 5000
# injected errors. About two hours; SIZE=1000 for a fifth of it.
soak:
	$(CARGO) build --locked --release
	RP_TEST_CASES=$(SIZE) RP_TEST_PRODUCT=$(abspath $(RELEASE)/rusty-pinch) \
		$(CARGO) test --locked --test it -- --nocapture --test-threads 4 campaign:: faults::
	$(MAKE) soak-turns fuzz controls sanitizer

# A hundred thousand turns of fifty chats with faults, measured all the while: of the program that is shipped, because memory is a
# matter of its allocator. Half an hour. TURNS=1000000 for a long night.
soak-turns:
	$(MAKE) dist TARGET=$$(uname -m)
	RP_TEST_CASES=$(TURNS) RP_TEST_PRODUCT=$$(ls $(abspath $(RELEASE)/../dist)/$$(uname -m)-*/rusty-pinch) \
		$(CARGO) test --locked --test it -- --nocapture soak::

# Twelve readers of foreign bytes, each given 100,000 inputs of a mutator, optimised; INPUTS=10000000 for a long night.
fuzz:
	RP_TEST_CASES=$(INPUTS) $(CARGO) test --locked --profile soak --test it -- --nocapture fuzz::

# Negative controls: eleven rules of the product are broken, each in a build of its own, and a test must fail each time.
controls:
	RP_TEST_CASES=1000 $(CARGO) test --locked --test it -- --nocapture controls::

# The real threads and queues under ThreadSanitizer; says why where no nightly toolchain can do it.
sanitizer:
	RP_TEST_CASES=1000 $(CARGO) test --locked --test it -- --nocapture sanitizer::

# At least 100,000 images of the disk after a crash, each recovered from and judged; optimised, or it would take minutes.
images:
	RP_TEST_CASES=64 $(CARGO) test --locked --profile soak --test it storage:: -- --nocapture

# The real Codex program and our WhatsApp bridge's library (npm) and an independent OpenAI-compatible server (PyPI); says so where they
# cannot be had.
counterparts:
	sh tests/tools/counterparts.sh $(abspath $(COUNTERPARTS))

# The main job, offline: answers one message with the provider `local` unless the environment names another.
run:
	RUSTY_PINCH_PROVIDER=$${RUSTY_PINCH_PROVIDER:-local} $(CARGO) run --locked --quiet -- run --message "$(MESSAGE)"

# Figures of docs/performance.md, with the budgets that are stable enough to be enforced.
bench:
	$(CARGO) build --locked --release
	$(CARGO) bench --locked --bench figures

# The static program for TARGET: x86_64, aarch64, armv7 or armv6. No toolchain is downloaded (packaging/dist.sh).
TARGET ?= x86_64
dist:
	packaging/dist.sh $(TARGET)

dist-all:
	for target in x86_64 aarch64 armv7 armv6; do packaging/dist.sh $$target || exit 1; done

# Debian packages: ARCHITECTURES="amd64 arm64 armhf" or some of them; then what an operator does with them (as root, for all of it).
ARCHITECTURES ?= amd64 arm64 armhf
package:
	packaging/package.sh $(ARCHITECTURES)

verify-package:
	packaging/verify-package.sh

# The image of a container for one ARCHITECTURE, by default this machine's: VARIANT=plain, or codex with Codex (packaging/container/image.sh).
VARIANT ?= plain
image:
	packaging/container/image.sh "$(ARCHITECTURE)" $(VARIANT)

# Used through Compose as an operator would; VARIANT=codex for both variants. Root, and docker or podman.
verify-container:
	packaging/verify-container.sh $(VARIANT)

# What the program is made of, CycloneDX; the same bytes each time. `make package` puts it beside the packages.
SBOM ?= $(or $(CARGO_TARGET_DIR),target)/rusty-pinch.cdx.json
sbom:
	packaging/supply.py sbom > $(SBOM)

# Licences, bans, sources: by a test that always runs, and by `cargo deny` where it is; known faults, where their list can be fetched.
supply-chain:
	$(CARGO) test --locked --test it -- deployment::supply
	packaging/supply-chain.sh

# Whether this commit may be released: everything that a merge needs, a turn, and packages that were used.
readiness: rusty-pinch-readiness
rusty-pinch-readiness:
	$(MAKE) check
	$(MAKE) run supply-chain package verify-package

# Whether what is deployed fits together: units, Compose files, templates of settings, scripts, documents.
deploy-check: rusty-pinch-deploy-check
rusty-pinch-deploy-check:
	$(CARGO) build --locked
	packaging/deploy-check.sh $(or $(CARGO_TARGET_DIR),target)/debug/rusty-pinch
	$(CARGO) test --locked --test it -- docs:: deployment::
