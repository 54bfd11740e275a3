# make test is what CI runs.

GO       ?= go
FUZZTIME ?= 5s
SOAKTIME ?= 3600
ARGS     ?=

# Debian keeps nginx where only root looks.
export PATH := $(PATH):/usr/sbin

.DEFAULT_GOAL := help
.PHONY: help setup bin fmt lint test demo model mutants fuzz soak

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: ## install what the tests use beside Go, where it is missing
	@tools/setup

bin: # staticcheck and gofumpt, as tools/go.mod pins them
	@cd tools && $(GO) build -buildvcs=false -o ../bin/ tool

fmt: bin ## format all Go files
	@bin/gofumpt -w .

lint: bin ## vet, staticcheck and the format
	$(GO) vet ./...
	bin/staticcheck ./...
	@for m in tools docs/model internal/e2e; do (cd $$m && $(GO) vet ./...) || exit 1; done
	@badly=$$(bin/gofumpt -l .) && test -z "$$badly" || { echo "not formatted (make fmt): $$badly"; exit 1; }

test: setup lint ## everything that CI checks: lint, all tests under the race detector in a random order, the model's small rows, planted bugs
	$(GO) test -race -shuffle on -timeout 12m ./...
	cd internal/e2e && $(GO) test -race -timeout 5m ./...
	cd docs/model && $(GO) test -count=1 ./...
	cd tools && $(GO) test -count=1 ./...
	$(MAKE) mutants

demo: ## the escrow under kill -9 and a faulty network; ARGS="--seed 7"
	$(GO) run ./cmd/chttp demo $(ARGS)

model: ## every row of the model of the wire (docs/model), two minutes
	cd docs/model && $(GO) run ./chk && $(GO) run ./chk -sweep

mutants: ## plant every bug of tools/mutants/bugs, and see that a test finds it; ARGS="-run floor"
	cd tools && $(GO) run ./mutants $(ARGS)

fuzz: ## every fuzz target for FUZZTIME (5s)
	@tools/fuzz $(FUZZTIME)

soak: ## tests, simulated worlds, tortured processes and the demo over and over for SOAKTIME (3600) seconds
	@tools/soak $(SOAKTIME)
