"""Workers of one model that differ: a deadline that is met on one and missed on another is left to the one."""

import unittest

from queue_case import QueueTest
from wire import generate

PLANS = [{"plan": plan, "quality": 1 - 0.01 * plan, "kv_bytes_per_token": 100 * (4 - plan), "state_bytes": 0}
         for plan in range(5)]
PROMPT = "x" * 1000


class MixedPool(QueueTest):
    def take_and_finish(self, worker, plan, work_ms):
        assigned = worker.take_job()
        worker.begin(assigned)
        metrics = {"prefill_ms": work_ms, "decode_ms": 0.0, "prompt_tokens": 1000, "output_tokens": 1, "plan": plan,
                   "prefill_work_ms": work_ms, "decode_work_ms": 0.0, "batch": 1.0}
        self.assertTrue(worker.finish(assigned, metrics=metrics))

    def test_a_deadline_is_left_to_the_worker_with_a_chain_though_another_is_idle(self):
        chain = self.worker(name="box:1:cpu", room=1, capacity=4, plans=PLANS)
        for turn in range(6):  # ten seconds on plan 0, one on plan 4
            self.client.submit(generate(prompt=PROMPT))
            self.take_and_finish(chain, *((0, 10_000.0) if turn % 2 == 0 else (4, 1_000.0)))
        [held] = self.client.submit(generate(prompt=PROMPT))
        begun = chain.take_job()
        self.assertEqual(held, begun["job"])
        plain = self.worker(name="box:2:cpu", room=1, capacity=4)
        [due] = self.client.submit(generate(prompt=PROMPT * 3, deadline_in_ms=25_000))
        [other] = self.client.submit(generate(prompt=PROMPT))
        self.assertEqual(other, plain.take_job()["job"])
        chain.begin(begun)
        taken = chain.take_job()
        self.assertEqual(due, taken["job"])
        self.assertGreater(taken["plan"], 0)


if __name__ == "__main__":
    unittest.main()
