"""The pages of `dslactl report` in a browser (headless Chromium): laid out, with plots and tables in sight, and no word
of complaint on the console."""

import html
import json
import pathlib
import re
import subprocess
import unittest

from fake_worker import FakeWorker
from harness import PATIENCE, SANITIZED, SystemTest
from wire import REFUSED, generate

CHROMIUM = pathlib.Path("/usr/bin/chromium")
# Behind the page's own content: what stands where, as text that --dump-dom shows.
PROBE = """<script>
const seen = (what) => [...document.querySelectorAll(what)].map((one) => one.getBoundingClientRect())
  .map((box) => [box.width, box.height]);
const root = document.documentElement;
document.body.insertAdjacentHTML("beforeend", "<output></output>");
document.querySelector("output").textContent = JSON.stringify({
  plots: seen("figure svg"), curves: seen("figure svg > :is(path, polyline, rect, line)").length, tables: seen("table"),
  headings: seen("h1, h2"), overflow: root.scrollWidth - root.clientWidth, quirks: document.compatMode});
</script>"""


@unittest.skipIf(SANITIZED, "the page is the same in every build")
@unittest.skipUnless(CHROMIUM.exists(), f"{CHROMIUM} is missing")
class Browser(SystemTest):
    def look(self, *arguments):
        """What the browser has laid out of a report."""
        page = self.ctl_ok("report", "--database", self.state_dir / "dslad.db", *arguments)
        file = self.folder / "page.html"
        file.write_text(page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
             f"--user-data-dir={self.folder}/browser", f"file://{file}"],
            capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual([], [line for line in done.stderr.splitlines() if ":CONSOLE:" in line])
        return json.loads(html.unescape(re.search("<output>({.*})</output>", done.stdout).group(1)))

    def assert_in_sight(self, boxes):
        self.assertTrue(boxes)
        for width, height in boxes:
            self.assertGreater(min(width, height), 0, boxes)

    def test_plots_and_tables_are_laid_out(self):
        self.start_daemon()
        with self.peer() as client, FakeWorker(self.workers_url, capacity=8) as worker:
            worker.hello()
            client.submit(*[generate(labels=["nightly"]) for _ in range(8)])
            *good, bad = [worker.take_job() for _ in range(8)]
            for job in good:
                worker.finish(job)
            worker.send_error(bad, REFUSED, "too <long> & wide")
            worker.expect("result_ack")
        seen = self.look()
        for what in ("plots", "tables", "headings"):
            self.assert_in_sight(seen[what])
        self.assertGreater(seen["curves"], 0)
        self.assertEqual((0, "CSS1Compat"), (seen["overflow"], seen["quirks"]))

    def test_an_empty_database_has_a_page_without_plots(self):
        self.start_daemon()
        seen = self.look()
        self.assert_in_sight(seen["headings"])
        self.assertEqual([], seen["plots"])


if __name__ == "__main__":
    unittest.main()
