#!/usr/bin/env python3
"""Has a real Prometheus scrape pools that are well, and then pools in trouble: which alerts come, of which pools, and
whether every expression of the dashboards and rules gives data.

    check.py PROMETHEUS FAULTS RULES DASHBOARDS FOLDER

Nobody waits for five minutes: all durations (`for`, ranges, offsets, the intervals of scrapes and evaluations) are divided
by SCALE, and hours by more. That the rules hold with their own durations is the matter of `promtool test rules`.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

SCALE = 20
INTERVAL = "750ms"  # 15 s, scaled
HEALTHY_FOR = 40  # seconds: more than the longest range, offset and `for` together have
PATIENCE = 90  # seconds
UNITS = {"s": 1, "m": 60, "h": 300}  # An hour of calm is five minutes here.

# What has to come, and of which pool.
EXPECTED = {
    ("PoolSaturated", "too small"),
    ("PoolLeaking", "leaking"),
    ("PoolWaitSlow", "slow"),
    ("PoolAcquireTimeouts", "leaking"),
    ("PoolQueueFull", "queue full"),
    ("PoolCreateFailing", "failing"),
    ("PoolConnectionsBreaking", "breaking"),
    ("GrpcPoolDown", "down"),
    ("GrpcPoolEndpointsDown", "partly down"),
    ("GrpcPoolStreamsAtCapacity", "at capacity"),
    ("GrpcPoolDedicatedSaturated", "dedicated"),
    ("GrpcPoolCallsFailing", "down"),
    ("GrpcPoolConnectionsLost", "cut"),
    ("GrpcPoolGoawayStorm", "leaving"),
    ("GrpcPoolRetriesThrottled", "retrying"),
    ("GrpcPoolResolverFailing", "lost"),
}
WELL = {"healthy", "full", "orders"}


def scaled(duration):
    seconds = sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", duration))
    return f"{seconds * 1000 // SCALE}ms"


def scale_rules(text):
    return re.sub(r"(\[|\boffset |\bfor: )((?:\d+[smh])+)\b", lambda it: it[1] + scaled(it[2]), text)


class Prometheus:
    def __init__(self, program, folder, target, rules):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        (folder / "rules.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {INTERVAL}, scrape_timeout: {INTERVAL}, evaluation_interval: {INTERVAL}}}\n"
            "rule_files: [rules.yml]\n"
            f"scrape_configs: [{{job_name: pools, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        self.log = (folder / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={self.address}", "--log.level=warn"],
            stdout=self.log, stderr=self.log)

    def ask(self, path, **params):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(params)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{params}: {error.read().decode()}") from None

    def query(self, expression):
        return [sample for sample in self.ask("query", query=expression)["result"] if sample["value"][1] != "NaN"]

    def alerts(self, *states):
        return {(alert["labels"]["alertname"], alert["labels"].get("pool"))
                for alert in self.ask("alerts")["alerts"] if alert["state"] in states}

    def until_it_scrapes(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if self.query("up == 1"):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.2)
        raise SystemExit("Prometheus does not scrape: see prometheus.log")


def expressions(rules, dashboards):
    """Every expression with where it is from, the dashboards' variables filled in."""
    for name in re.findall(r"- record: (\S+)", rules):
        yield name, name
    for file in sorted(dashboards.glob("*.json")):
        board = json.loads(file.read_text())
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                metric = re.match(r"label_values\((\w+)", variable["definition"])[1]
                yield f"{file.name}: variable {variable['name']}", metric
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expression = re.sub(r"\$(job|instance|pool)\b", ".*", target["expr"])
                expression = expression.replace("$__rate_interval", scaled("5m"))
                yield f"{file.name}: {panel['title']}", expression


def main():
    program, faults, rules, dashboards, folder = sys.argv[1:]
    rules, dashboards, folder = pathlib.Path(rules).read_text(), pathlib.Path(dashboards), pathlib.Path(folder)
    pools = subprocess.Popen([faults], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    prometheus = None
    try:
        target = pools.stdout.readline().strip()
        prometheus = Prometheus(program, folder, target, scale_rules(rules))
        prometheus.until_it_scrapes()
        time.sleep(HEALTHY_FOR)
        early = prometheus.alerts("pending", "firing")
        if early:
            raise SystemExit(f"nothing is wrong, and there are alerts: {sorted(early)}")
        print(f"{HEALTHY_FOR} s of well pools: no alert is pending or firing")

        pools.stdin.write("faults\n")
        pools.stdin.flush()
        begun, seen = time.monotonic(), {}
        while not EXPECTED <= seen.keys() and time.monotonic() < begun + PATIENCE:
            for alert in prometheus.alerts("firing"):
                seen.setdefault(alert, time.monotonic() - begun)
            time.sleep(0.25)
        print(f"\n{'alert':<28} {'pool':<14} fires after, times {SCALE}")
        for alert, pool in sorted(EXPECTED):
            after = seen.get((alert, pool))
            print(f"{alert:<28} {pool:<14} {'NEVER' if after is None else f'{after * SCALE / 60:.1f} min'}")
        others = sorted(f"{alert} of {pool}" for alert, pool in seen.keys() - EXPECTED)
        print(f"beside them: {', '.join(others)}")
        wrong = sorted(alert for alert in seen if alert[1] in WELL)
        missing = EXPECTED - seen.keys()
        if wrong or missing:
            raise SystemExit(f"fired of pools that are well: {wrong}; did not fire: {sorted(missing)}")

        asked = list(expressions(rules, dashboards))
        empty = [f"{where}: {expression}" for where, expression in asked if not prometheus.query(expression)]
        print(f"\n{len(asked)} expressions of rules and dashboards, {len(empty)} without data")
        if empty:
            raise SystemExit("\n".join(empty))
    finally:
        if prometheus:
            prometheus.process.terminate()
            prometheus.process.wait()
        pools.stdin.close()
        pools.wait(10)


main()
