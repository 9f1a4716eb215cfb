"""What Prometheus scrapes: every metric is documented, the board and the alerts ask for nothing else, and the numbers are
those of the jobs that ran."""

import json
import re
import socket
import unittest
import urllib.request

from harness import SOURCE, SystemTest, free_port, until
from queue_case import QueueTest
from wire import generate

MONITORING = SOURCE / "packaging/monitoring"


class Metrics(QueueTest):
    def setUp(self):
        self.port = free_port()
        self.daemon_options = ("--set", f"metrics.listen=127.0.0.1:{self.port}")
        super().setUp()

    def scrape(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as page:
            return page.read().decode()

    def value(self, sample):
        found = re.search(rf"^{re.escape(sample)} (\S+)", self.scrape(), re.M)
        return float(found[1]) if found else None

    def families(self):
        return {name: kind for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", self.scrape(), re.M)
                if name.startswith("dslad_")}

    def documented(self):
        text = (SOURCE / "docs/monitoring.md").read_text()
        return dict(re.findall(r"^\| `(dslad_\w+)` \| (\w+) \|", text, re.M))

    def test_every_metric_is_documented_and_its_name_fits_its_kind(self):
        until(lambda: self.families() == self.documented(), "the first snapshot", patience=30)
        for name, kind in self.families().items():
            self.assertEqual(kind == "counter", name.endswith("_total"), name)
        for line in self.scrape().splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) |[a-z_]+(\{.*\})? [-+0-9.eInfNa]+$)")

    def test_the_board_and_the_alerts_ask_for_metrics_that_exist(self):
        board = json.loads((MONITORING / "grafana.json").read_text())
        asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        rules = (MONITORING / "alerts.yml").read_text()
        asked += re.findall(r"^ +expr: (.*(?:\n {10}.*)*)", rules, re.M)
        self.assertGreater(len(asked), 25)
        known = set(self.documented())
        for expression in asked:
            for name in re.findall(r"dslad_\w+", expression):
                self.assertIn(re.sub(r"_bucket$", "", name), known, expression)
        self.assertEqual(rules.count("- alert:"), rules.count("description:"))
        self.assertEqual(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))

    def test_the_numbers_are_those_of_the_jobs(self):
        jobs = self.client.submit(generate(), generate())
        worker = self.worker()
        worker.finish(worker.take_job())
        worker.finish(worker.take_job())
        self.client.wait(*jobs)
        self.client.request("cancel", {"ids": self.client.submit(generate(priority=-1, model="nobody"))})
        until(lambda: self.value('dslad_jobs{state="cancelled"}') == 1, "the snapshot has the jobs")
        self.assertEqual(2, self.value('dslad_jobs{state="succeeded"}'))
        self.assertEqual(2, self.value('dslad_jobs_ended_total{state="succeeded"}'))
        self.assertEqual(1, self.value('dslad_jobs_ended_total{state="cancelled"}'))
        self.assertEqual(0, self.value('dslad_jobs_ended_total{state="failed"}'))
        self.assertEqual(3, self.value("dslad_jobs_submitted_total"))
        self.assertEqual(2, self.value("dslad_enqueue_seconds_count"))
        self.assertEqual(2, self.value("dslad_queue_wait_seconds_count"))
        self.assertEqual(6, self.value("dslad_prompt_tokens_total"))
        self.assertAlmostEqual(0.002, self.value("dslad_prefill_seconds_sum"))
        self.assertEqual(1, self.value("dslad_workers"))
        self.assertGreater(self.value("dslad_commit_seconds_count"), 3)


class Address(SystemTest):
    def test_an_address_that_is_taken_is_a_clear_error(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            daemon = self.start_daemon("--set", f"metrics.listen=127.0.0.1:{taken.getsockname()[1]}", ready=False)
            self.assertEqual(1, daemon.wait())
        daemon.expected_exit.add(1)
        self.assertIn("give metrics.listen a free ADDRESS:PORT", daemon.text())


if __name__ == "__main__":
    unittest.main()
