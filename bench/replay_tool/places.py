"""Where the parts of the project lie that this tool uses, and the imports from outside its own folder."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO_MODEL = ROOT / "packaging/demo-model/model"
BIN = ROOT / "build/release/bin"

# The client of the protocol that the system tests use, and the generator of the demo model's logbooks.
for folder in (ROOT / "tests/system", ROOT / "packaging/demo-model/recipe"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

import generator as logbooks  # noqa: E402, F401
import wire  # noqa: E402, F401
