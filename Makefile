# What an operator or a developer types. Everything here works from a fresh clone with git, make and Rust.
CARGO    ?= cargo
PROFILE  ?= dev
SHELL    := /bin/bash
NEXTEST  := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
export CARGO_TERM_COLOR ?= auto

.PHONY: help install-deps build release dist install run demo test unit lint conformance conformance-update differential fuzz talk-off bench quality load load-recorder churn failover interop module-core test-kernel clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\): .*##/\1\t/p;s/^\([a-z-]*\):  *##/\1\t/p' $(MAKEFILE_LIST) | expand -t 22

install-deps:    ## install the system packages that are missing (apt)
	@scripts/install-deps

build: install-deps  ## build everything, unoptimised
	$(CARGO) build --workspace --bins

release: install-deps  ## build everything, optimised
	$(CARGO) build --release --workspace --bins

dist: install-deps  ## the relay as it is installed: linked as a whole, laid out by what calls need (half an hour; PGO=no: ten minutes)
	@scripts/dist

run: release     ## start both daemons for this machine
	@scripts/run

install: release dist  ## put everything into place (DESTDIR=… PREFIX=/usr/local SYSCONFDIR=/etc); configuration that is there stays
	@scripts/install

demo: release    ## one call, end to end, on loopback, with a report
	target/release/demo --output target/demo

test: install-deps lint build module-core unit  ## everything that CI checks but test-kernel

lint: install-deps  ## format, clippy, file sizes, committed paths, the map in docs/architecture.md
	$(CARGO) fmt --all --check
	cd xtables && $(CARGO) fmt --check -- --config-path ..
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	scripts/check-tree
	scripts/loc --check

unit:            ## unit and end-to-end tests
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace --no-fail-fast
	$(CARGO) test --workspace --doc --quiet
else
	$(CARGO) test --workspace --exclude e2e --no-fail-fast
	$(CARGO) test -p e2e --no-fail-fast -- --test-threads=1
endif

module-core: install-deps  ## the kernel module's packet code, in user space under sanitizers
	tests/kernel/core/run

test-kernel: install-deps  ## kernel module and iptables plugin on Debian's kernels in an emulator, two to three minutes
	tests/kernel/run

conformance: build  ## play the recorded control-protocol corpus, passed/total per area
	target/debug/conformance

conformance-update: build  ## write down which scenarios fail today (tests/corpus/ng-expected.txt); review the diff
	target/debug/conformance --update

differential: build  ## generated calls to this relay and to Debian's side by side, every difference made small
	target/debug/differential $(ARGS)

fuzz:            ## each parser for ten minutes (FUZZ_SECONDS=…), memory bounded
	@scripts/fuzz

talk-off:        ## 100 minutes of recorded speech and music (fetched from Debian) must contain no digit
	@scripts/talk-off

bench: release dist  ## CPU per packet and per call beside other daemons, as ratios of one run
	@scripts/bench

quality: release ## how transcoded speech sounds beside the reference, with and without loss (PESQ; needs Python with pesq)
	target/release/transcode_quality

load: release    ## 200 recorded calls for 60 s, recorder killed in the middle
	target/release/load

load-recorder: release ## 500 recorded calls for ten minutes (LOAD_CALLS=…, LOAD_SECONDS=…), cost beside Debian's; 15 GB of files meanwhile
	target/release/record_load --calls $${LOAD_CALLS:-500} --seconds $${LOAD_SECONDS:-600} --reference-seconds $${REFERENCE_SECONDS:-60}

churn: release   ## 200 000 calls come and go (CHURN_CALLS=…): memory, descriptors and threads must stay what they were
	target/release/churn --calls $${CHURN_CALLS:-200000}

failover: release ## 500 calls of all kinds, the daemon killed, another one goes on (FAILOVER_CALLS=…)
	RTPENGINE_BIN=$(CURDIR)/target/release/rtpengine $(CARGO) test -p e2e --test failover_load -- --ignored --nocapture --test-threads=1

interop: release  ## Kamailio, SIP phones and softphones (hold, fork, change of endpoint, ICE, SDES, DTLS), then recipes of ../shared/interop when they exist
	@scripts/interop

clean:           ## remove what was built
	$(CARGO) clean
