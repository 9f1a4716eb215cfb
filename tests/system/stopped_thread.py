"""One thread of a child process, stopped while the others run: as by a disk that does not answer. By ptrace."""

import ctypes
import os
import pathlib
import unittest

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000  # waitpid: of threads, too

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class StoppedThread:
    def __init__(self, pid, name):
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        self.thread = next(int(task.name) for task in tasks if (task / "comm").read_text().strip() == name)

    def __enter__(self):
        if libc.ptrace(SEIZE, self.thread, None, None) != 0:
            raise unittest.SkipTest(f"this machine lets nobody trace: {os.strerror(ctypes.get_errno())}")
        libc.ptrace(INTERRUPT, self.thread, None, None)
        os.waitpid(self.thread, WALL)
        return self

    def __exit__(self, *_):
        libc.ptrace(DETACH, self.thread, None, None)
