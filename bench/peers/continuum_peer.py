"""Continuum as a peer of the peer harness: one core, one witness, and per node a guard and an agent.

Passed to the harness with --peer-module; see README.md beside this file.
"""
import json
import os
import shutil
import subprocess
import time

import pbpeers

BIN = os.environ.get(
    "CONTINUUM_BIN",
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target", "release", "continuum"))
PAIR = "app"
SUFFIX = "continuum.internal"
# The guard decides these itself and refuses to be told.
GUARDS_OWN = {"synchronous_commit", "synchronous_standby_names", "hot_standby", "logging_collector"}
# What an async pair may lose at a failover without asking a person first.
RPO_BYTES = 1 << 30


def toml(table, prefix=""):
    """The little of TOML that the configuration files need: values, arrays, tables, arrays of tables."""
    lines, below = [], []
    for key, value in table.items():
        if value is None:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            below.append(f"\n[{name}]\n{toml(value, name + '.')}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            below += [f"\n[[{name}]]\n{toml(item, name + '.')}" for item in value]
        else:
            # JSON's strings, numbers, booleans and arrays are TOML's.
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines + below) + "\n"


class Continuum(pbpeers.Peer):
    name = "continuum"
    # Seconds for ttl, milliseconds for the rest; 0 takes the profile's own value.
    # `suspect_ms` above 0 is ledger takeover, where the durability allows it; 0 waits for the ttl.
    TIMINGS = {"default": {"ttl": 10, "renew_ms": 0, "suspect_ms": 600},
               "aggressive": {"ttl": 3, "renew_ms": 500, "suspect_ms": 600}}

    # ---- timing: the lab's profile, whose margins fit processes that share one host -------------
    def lease(self):
        ttl = self.timing["ttl"] * 1000
        renew = self.timing.get("renew_ms") or (ttl // 5 // 500 * 500 or ttl // 5)
        return {"ttl": f"{ttl}ms", "renew": f"{renew}ms", "stop_budget": f"{min(3000, ttl // 4)}ms",
                "guard": f"{max(100, ttl // 40)}ms"}

    def settings(self):
        return {**self.timing, **self.lease(), "durability": self.durability()}

    def takeover(self):
        suspect = self.timing.get("suspect_ms") if self.sync else 0
        return {"takeover": "ledger", "suspect_after": f"{suspect}ms"} if suspect else {"takeover": "ttl"}

    def durability(self):
        return "available" if self.sync else "async"

    # ---- places --------------------------------------------------------------------------------
    def region(self, i):
        return f"n{i + 1}"

    def at(self, offset):
        return f"127.0.0.1:{self.base + offset}"

    def peer_at(self, i):
        return self.at(11 + i)

    def conf(self, name):
        return f"{self.dir}/conf/{name}.toml"

    def write(self, name, table):
        with open(self.conf(name), "w") as f:
            f.write(toml(table))
        shutil.chown(self.conf(name), "postgres", "postgres")

    # ---- certificates --------------------------------------------------------------------------
    def certificates(self):
        tls = f"{self.dir}/tls"
        self.run(["mkdir", "-p", tls, f"{self.dir}/conf"])
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self.run(["openssl", "req", "-x509", *key, "-subj", "/CN=peer authority", "-days", "30",
                  "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
                  "-keyout", f"{tls}/authority.key", "-out", f"{tls}/authority.pem"])
        parties = [("core", "core-1"), ("witness", "witness"), ("operator", "peer")]
        parties += [("region", self.region(i)) for i in (0, 1)]
        for role, name in parties:
            stem = f"{tls}/{role}-{name}"
            self.run(["openssl", "req", *key, "-subj", f"/CN={role}-{name}", "-keyout", f"{stem}.key", "-out", f"{stem}.csr"])
            with open(f"{stem}.ext", "w") as f:
                f.write(f"subjectAltName=DNS:{name}.{role}.{SUFFIX}\nextendedKeyUsage=serverAuth,clientAuth\n")
            self.run(["openssl", "x509", "-req", "-in", f"{stem}.csr", "-CA", f"{tls}/authority.pem", "-CAkey",
                      f"{tls}/authority.key", "-CAcreateserial", "-days", "30", "-extfile", f"{stem}.ext", "-out", f"{stem}.pem"])

    def tls(self, role, name):
        tls = f"{self.dir}/tls"
        return {"authority": f"{tls}/authority.pem", "certificate": f"{tls}/{role}-{name}.pem", "key": f"{tls}/{role}-{name}.key"}

    # ---- configuration -------------------------------------------------------------------------
    def configure(self):
        regions = [self.region(i) for i in (0, 1)]
        core = {"name": "core-1", "address": self.at(21)}
        witness = {"name": "witness", "address": self.at(23)}
        self.write("core", {
            "name": "core-1", "id": 1, "listen_rpc": self.at(21), "listen_api": self.at(22),
            "data_directory": f"{self.dir}/core",
            "peers": [{"name": "core-1", "id": 1, "address": self.at(21), "api_address": self.at(22)}],
            "witness": witness, "tls": self.tls("core", "core-1")})
        self.write("witness", {
            "name": "witness", "listen": self.at(23), "data_directory": f"{self.dir}/witness",
            "pairs": {PAIR: regions}, "tls": self.tls("witness", "witness")})
        self.write("client", {
            "endpoints": [{"name": "core-1", "address": self.at(22)}], "tls": self.tls("operator", "peer")})
        self.write(PAIR, {
            "id": PAIR, "first_primary": regions[0], "durability": self.durability(), "anti_flap": "1s",
            **self.takeover(), "loss_approval": None if self.sync else {"rpo_bytes": RPO_BYTES},
            "members": {self.region(i): {"host": "127.0.0.1", "port": self.pgports[i]} for i in (0, 1)}})
        password = f"{self.dir}/conf/replication.password"
        with open(password, "w") as f:
            f.write("peer\n")
        os.chmod(password, 0o600)
        shutil.chown(password, "postgres", "postgres")
        for i in (0, 1):
            self.configure_node(i, core, witness, password)

    def configure_node(self, i, core, witness, password):
        region, other = self.region(i), self.region(1 - i)
        socket, run = f"{self.dir}/guard-{region}.sock", f"{self.dir}/run-{region}"
        settings = {k: v for k, v in pbpeers.COMMON_GUCS.items() if k not in GUARDS_OWN}
        self.write(f"guard{i}", {
            "pair": PAIR, "region": region, "members": [self.region(0), self.region(1)], "socket": socket,
            "data_directory": self.datadir(i), "state_directory": f"{self.dir}/guard-{region}",
            "bin_directory": pbpeers.PGBIN, "listen_host": "127.0.0.1", "port": self.pgports[i],
            "socket_directory": run, "replication_password_file": password, "durability": self.durability(),
            "trusted_networks": ["127.0.0.1/32"], "hba": ["host all all 127.0.0.1/32 trust"],
            "stop_budget": self.lease()["stop_budget"], "settings": settings})
        self.write(f"agent{i}", {
            "region": region, "listen_peer": self.peer_at(i), "listen_health": self.at(13 + i),
            "state_directory": f"{self.dir}/agent-{region}", "tls": self.tls("region", region),
            "timing": self.lease(), "witness": witness, "core": [core],
            "peers": [{"region": other, "address": self.peer_at(1 - i)}],
            "pairs": [{"id": PAIR, "guard_socket": socket, "postgres_port": self.pgports[i],
                       "postgres_socket_directory": run, "replication_password_file": password}]})

    # ---- what the harness calls ----------------------------------------------------------------
    def setup(self):
        self.fresh_dir()
        # User postgres need not be able to pass through to where the binary was built.
        shutil.copy(BIN, f"{self.dir}/continuum")
        os.chmod(f"{self.dir}/continuum", 0o755)
        self.env["CONTINUUM_CONFIG"] = self.conf("client")
        self.certificates()
        self.configure()
        self.role("witness", "witness", "witness")
        self.role("core", "server", "core")
        for i in (0, 1):
            self.start_agent(i)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.cli("pair", "apply", "--file", self.conf(PAIR), "--reason", "peer harness")
                break
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self.wait_healthy(180)
        self.create_schema()

    def role(self, label, role, config):
        self.spawn(label, [f"{self.dir}/continuum", role, "--config", self.conf(config)])

    def start_agent(self, i):
        """The guard is a process of its own, beside the agent: killing the agent leaves it alone."""
        if not self.guard_pids(i):
            self.role(f"guard{i}", "guard", f"guard{i}")
        self.role(f"agent{i}", "agent", f"agent{i}")

    def guard_pids(self, i):
        guard = self.procs.get(f"guard{i}")
        if guard is None or not pbpeers.alive(guard.pid):
            return []
        table = pbpeers.proc_table()
        return [guard.pid] + [p for p in pbpeers.descendants(guard.pid, table) if table[1].get(p) != "postgres"]

    def node_pids(self, i):
        return self.agent_pids(i) + self.guard_pids(i) + self.pg_pids(i)

    def cli(self, *arguments):
        return self.run([f"{self.dir}/continuum", *arguments])

    def view(self):
        """The pair as the core knows it; {} when it does not answer."""
        try:
            done = subprocess.run([f"{self.dir}/continuum", "pair", "show", PAIR, "--output", "json"], env=self.env,
                                  user="postgres", group="postgres", extra_groups=[], cwd=self.dir,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
            return json.loads(done.stdout) if done.returncode == 0 else {}
        except (subprocess.TimeoutExpired, ValueError):
            return {}

    def ready(self):
        view = self.view()
        holder = view.get("holder")
        if holder is None:
            return False
        for region, aged in view["members"].items():
            wanted = "primary" if region == holder else "standby"
            if not aged or aged["age_ms"] > 2500 or aged["report"]["role"] != wanted:
                return False
        if self.sync and sorted(view.get("in_sync") or []) != sorted(view["members"]):
            return False
        return view.get("operation") is None

    def switchover(self, frm, to):
        return self.cli("switchover", PAIR, "--to", self.region(to), "--wait", "--reason", "peer harness")


pbpeers.REGISTRY["continuum"] = Continuum
