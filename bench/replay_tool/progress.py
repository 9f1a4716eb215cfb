"""One line on the terminal that says what is being done; where the output is no terminal, only its ends."""

import shutil
import sys
import time


class Progress:
    def __init__(self, stream=sys.stderr):
        self.stream = stream
        self.live = stream.isatty()
        self.prefix = ""
        self.shown = 0.0

    def step(self, prefix: str):
        """A new part of the work; what follows is said of it."""
        self.prefix = prefix
        self.shown = 0.0
        if not self.live:
            print(prefix, file=self.stream, flush=True)

    def say(self, text: str):
        """At most ten times a second."""
        now = time.monotonic()
        if not self.live or now - self.shown < 0.1:
            return
        self.shown = now
        width = shutil.get_terminal_size().columns - 1
        print("\r" + f"{self.prefix}: {text}"[:width].ljust(width), end="", file=self.stream, flush=True)

    def done(self, text: str):
        """Leaves a line of it."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print("\r" + f"{self.prefix}: {text}".ljust(width), file=self.stream, flush=True)
        else:
            print(f"  {text}", file=self.stream, flush=True)
