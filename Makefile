# What there is to run. Each target installs what it lacks on a Debian machine with Rust.

CARGO ?= cargo
# For the shell as it stands: a command may have quotes and variables of its own.
quote = '$(subst ','\'',$(value $1))'

.DEFAULT_GOAL := help
.PHONY: help demo test clients e2e images images-local images-test sandbox sandbox-down cluster cluster-down check-down golden \
	bench bench-webhook check fmt test-tools check-tools api-server advisories clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, and show a pod that gets its sidecar, an allowed and a refused request, without internet
	@scripts/demo

test: test-tools api-server ## run every test that needs no cluster
	@CARGO='$(CARGO)' scripts/test

clients: ## sixty real clients behind the proxy, as root; fails where one is worse off than in docs/clients.md; CLIENT='pip' for some
	@clients/run $(if $(CLIENT),$(call quote,CLIENT))

e2e: ## the images on a real cluster, from nothing to gone; TEST='words' for the tests with these words in their names
	@kind-test/run $(if $(TEST),$(call quote,TEST))

images: ## build the images of sidecar and webhook, with Docker
	@scripts/images

images-local: ## the same where no image registry can be reached, on Debian
	@scripts/images-local

# With the crates of `make test`: alone, its dependencies would have other features, and be compiled again.
images-test: ## check the images that were built, the sidecar's for arm64 too, and the sandbox of docker-compose.yml
	@scripts/image-tools
	$(CARGO) test --locked --workspace --exclude sandgate-bench --exclude sandgate-clients --exclude sandgate-kind-test \
		$(patsubst images/tests/%,--test %,$(basename $(wildcard images/tests/*)))

sandbox: export SANDBOX_COMMAND := $(value CMD)
sandbox: ## run CMD='curl https://...' in a container whose only way out is the sidecar
	@scripts/sandbox "$$SANDBOX_COMMAND"

sandbox-down: ## take that container and its sidecar away
	@scripts/sandbox --down

cluster: ## make the cluster that the tests run on, with kind; says how to use it; NAME=other makes one beside it
	@kind-test/up $(if $(NAME),--name '$(NAME)')

cluster-down: ## take that cluster away, or that of NAME, and the Docker engine if it was started for it
	@kind-test/down $(if $(NAME),--name '$(NAME)')

check-down: ## test that nothing of the cluster is left, however its making ended
	@kind-test/check-down

golden: ## write what the webhook's golden tests expect; look at the diff before you commit it
	UPDATE_GOLDEN=1 $(CARGO) test --locked -p sandgate-webhook --test golden --test offline

bench: ## Sandgate and its peers side by side, as root, on a machine that does nothing else; UPDATE_DOCS=1 writes docs/performance.md
	@CARGO='$(CARGO)' bench/run

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
	kind-test/down
	scripts/docker-engine stop
	rm -rf target
