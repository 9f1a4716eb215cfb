"""Changing the plan by hand, between an operator and a worker that answers as the test says."""

import unittest

import wire
from queue_case import QueueTest


class Plans(QueueTest):
    def test_a_plan_is_set_once_every_worker_has_confirmed_and_each_change_is_recorded(self):
        worker = self.worker()
        with self.peer() as operator:
            operator.send("plan_set", {"plan": 1, "allow_undistilled": True, "reason": "a try"}, 77)
            change = worker.expect("set_plan").body
            self.assertEqual((1, True, "a try"), (change["plan"], change["allow_undistilled"], change["reason"]))
            worker.plan = 1
            worker.send("plan_result", {
                "request": change["request"], "plan": 1,
                "changes": [{"layer": 0, "from": "transformer", "to": "active", "reason": change["reason"]}],
                "layer_info": [{"layer": n, "order": n, "state": worker.layer_state(n)} for n in range(4)],
            })
            reply = operator.receive()
        self.assertEqual(("plan_reply", 77), (reply.kind, reply.id))
        self.assertEqual([(worker.name, 1)], [(entry["worker"], entry["plan"]) for entry in reply.body["workers"]])
        [event] = self.sql("SELECT * FROM conversion_events")
        self.assertEqual((0, "transformer", "active", "a try"),
                         (event["layer"], event["from_state"], event["to_state"], event["reason"]))

    def test_a_workers_refusal_reaches_the_operator_and_nothing_is_recorded(self):
        worker = self.worker()
        with self.peer() as operator:
            operator.send("plan_set", {"plan": 3}, 5)
            change = worker.expect("set_plan").body
            worker.send("plan_result", {"request": change["request"], "plan": 0,
                                        "error": {"code": wire.REFUSED, "message": "layer 0 is not distilled"}})
            reply = operator.receive()
        self.assertEqual(("error", wire.REFUSED), (reply.kind, reply.body["code"]))
        self.assertIn("layer 0 is not distilled", reply.body["message"])
        self.assertEqual([], self.sql("SELECT * FROM conversion_events"))

    def test_without_a_worker_a_plan_cannot_be_set(self):
        with self.assertRaises(wire.Refusal) as refusal:
            self.client.request("plan_set", {"plan": 1})
        self.assertEqual(wire.UNAVAILABLE, refusal.exception.code)


if __name__ == "__main__":
    unittest.main()
