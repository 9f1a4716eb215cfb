"""Tests of the held-out files; needs only the standard library: python3 -m unittest test_make_eval"""

import json
import tempfile
import unittest
from pathlib import Path

import make_eval


class MakeEvalTest(unittest.TestCase):
    def test_files_have_the_shape_that_eval_reads(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            make_eval.write_length(out, 500, 3)
            qa = [json.loads(line) for line in (out / "qa-500.jsonl").open()]
            summaries = [json.loads(line) for line in (out / "summarize-500.jsonl").open()]
            text = (out / "text-500.txt").read_text()
        self.assertEqual([line["id"] for line in qa], [f"held-out-500-{i}" for i in range(3)])
        for line, summary in zip(qa, summaries):
            self.assertEqual((line["task"], summary["task"]), ("qa", "summarize"))
            self.assertEqual(line["document"], summary["document"])
            self.assertIn(line["document"], text)
            self.assertTrue(summary["items"][0]["summaries"][0])
            for item in line["items"]:
                self.assertTrue(item["question"] and item["answers"][0])
                self.assertIn(item["evidence"], line["document"])
                self.assertIn(item["kind"], ("early", "middle", "late", "overwritten", "two-step"))


if __name__ == "__main__":
    unittest.main()
