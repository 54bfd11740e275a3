# make test is what CI runs.

GO       ?= go
FUZZTIME ?= 5s
SOAKTIME ?= 3600
ARGS     ?=

# Debian keeps nginx where only root looks.
export PATH := $(PATH):/usr/sbin

.DEFAULT_GOAL := help
.PHONY: help setup bin fmt lint test demo fuzz soak

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
	@badly=$$(bin/gofumpt -l .) && test -z "$$badly" || { echo "not formatted (make fmt): $$badly"; exit 1; }

test: setup lint ## everything that CI checks: lint, and all tests under the race detector, in a random order
	$(GO) test -race -shuffle on -timeout 9m ./...
	cd internal/e2e && $(GO) vet ./... && $(GO) test -race -timeout 5m ./...

demo: ## the escrow under kill -9 and a faulty network; ARGS="--seed 7"
	$(GO) run ./cmd/chttp demo $(ARGS)

fuzz: ## every fuzz target for FUZZTIME (5s)
	@tools/fuzz $(FUZZTIME)

soak: ## tests and demo over and over for SOAKTIME (3600) seconds
	@tools/soak $(SOAKTIME)
