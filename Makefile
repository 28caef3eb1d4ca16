# What there is to run. Each target installs what it lacks on a Debian machine with Rust.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test golden bench-webhook check fmt test-tools check-tools api-server advisories clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, and show a pod that gets its sidecar, an allowed and a refused request, without internet
	@scripts/demo

test: test-tools api-server ## run every test that needs no cluster
	$(CARGO) test --locked

golden: ## write what the webhook's golden tests expect; look at the diff before you commit it
	UPDATE_GOLDEN=1 $(CARGO) test --locked -p sandgate-webhook --test golden --test offline

bench-webhook: ## how fast the webhook answers; on a machine that does nothing else, docs/webhook-performance.md has the figures
	$(CARGO) bench --locked -p sandgate-webhook --bench review --bench decide

check: check-tools ## formatting, clippy without warnings, licences and sources of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	target/tools/bin/cargo-deny --locked check bans licenses sources

fmt: ## format the code
	$(CARGO) fmt --all

test-tools: ## install what `make test` uses: packages, target/venv, target/checkov-venv, target/node
	@scripts/test-tools

api-server: ## build kube-apiserver, kubectl and etcd from Go modules into target/kubernetes
	@scripts/api-server

check-tools: ## install what `make check` uses: target/tools
	@scripts/check-tools

advisories: check-tools ## look up known vulnerabilities of dependencies; needs network
	target/tools/bin/cargo-deny --locked check advisories

clean: ## remove everything that was built or installed here
	rm -rf target
