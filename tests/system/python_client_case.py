"""What the tests of the Python client start from: a daemon, fake workers that answer by themselves, and both kinds of
client behind one way to call them, so that a test says once what holds for both."""

import asyncio
import inspect
import sys
import threading

import wire
from fake_worker import FakeWorker
from harness import PATIENCE, SOURCE, SystemTest

sys.path.insert(0, str(SOURCE / "packaging/python"))
import dslad  # noqa: E402

Job = dslad.Job


def generate(prompt="Once", **others):
    """A job of the cheapest kind."""
    return Job.generate(prompt, max_tokens=8, **others)


class Plain:
    """Calls of a dslad.Client as they are."""

    def __init__(self, url, **options):
        self.client = dslad.Client(url, **options)

    def close(self):
        self.client.close()

    def __getattr__(self, method):
        return getattr(self.client, method)


class Asynchronous:
    """Calls of a dslad.AsyncClient, each run to its end in one event loop; iterators are as plain ones."""

    def __init__(self, url, **options):
        self.runner = asyncio.Runner()
        self.client = dslad.AsyncClient(url, **options)

    def close(self):
        self.runner.run(self.client.close())
        self.runner.close()

    def __getattr__(self, method):
        def call(*arguments, **keywords):
            answer = getattr(self.client, method)(*arguments, **keywords)
            return self.runner.run(answer) if inspect.iscoroutine(answer) else Iterated(self.runner, answer)

        return call


class Iterated:
    """An asynchronous iterator as a plain one."""

    def __init__(self, runner, stream):
        self.runner, self.stream = runner, stream

    def __enter__(self):
        self.runner.run(self.stream.__aenter__())
        return self

    def __exit__(self, *details):
        self.runner.run(self.stream.__aexit__(*details))

    def __iter__(self):
        return self

    def __next__(self):
        async def following():
            return await anext(self.stream)

        try:
            return self.runner.run(following())
        except StopAsyncIteration:
            raise StopIteration from None


class ClientTest(SystemTest):
    kind = Plain

    def connect(self, url=None, **options):
        options.setdefault("timeout", PATIENCE)
        client = self.kind(url or self.jobs_url, **options)
        self.addCleanup(client.close)
        return client

    def worker(self, **options):
        worker = FakeWorker(self.workers_url, **options)
        self.addCleanup(worker.close)
        worker.hello()
        return worker

    def serving(self, **options):
        """A worker that answers each job, in a thread until the test ends."""
        worker = Serving(self.workers_url, **options)
        self.addCleanup(worker.stop)
        worker.start()
        return worker

    def in_a_thread(self, work):
        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join)
        return thread


class Serving(threading.Thread):
    """Answers with the job's last text, upper case, once for each question; fails what says "fail"."""

    def __init__(self, url, capacity=16):
        super().__init__()
        self.url, self.capacity = url, capacity
        self.ending = threading.Event()

    def stop(self):
        self.ending.set()
        self.join()

    def run(self):
        with FakeWorker(self.url, capacity=self.capacity) as worker:
            worker.hello()
            while not self.ending.is_set():
                try:
                    message = worker.receive(0.05)
                except wire.Silence:
                    continue
                if message.kind == "assign":
                    self.answer(worker, message.body)
                elif message.kind == "who_are_you":
                    worker.hello()

    @staticmethod
    def answer(worker, job):
        text = job.get("prompt") or job["document"]
        if "fail" in text:
            worker.send_error(job, wire.INVALID_ARGUMENT, "it says fail")
        else:
            worker.send_result(job, text=text.upper())
