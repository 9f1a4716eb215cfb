"""The manual pages: they name what --help names and nothing else, and mandoc finds no fault in them."""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import unittest

BIN = pathlib.Path(os.environ["DSLAD_BIN"])
FOLDER = pathlib.Path(os.environ["DSLAD_SOURCE"]) / "docs/man"
PAGES = {"dslactl": "dslactl.1", "dslad": "dslad.8", "dslad-model": "dslad-model.1", "dslad-worker": "dslad-worker.8"}
PATIENCE = 120.0


def help_of(program, verb=()):
    command = [str(BIN / program), *verb, "--help"]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=True).stdout


def section_of(text, name):
    """The indented lines below "Name:", which newer versions of CLI11 write in capitals."""
    found = re.search(rf"^{name}:\s*?\n(.*?)(?=^\S|\Z)", text, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


@functools.cache
def calls_of(program, verb=()):
    """Each verb that runs something, () for the program itself, with its options: {long name: short name or ""}."""
    text = help_of(program, verb)
    options = re.findall(r"^ {2,12}(?:-(\w), *)?--([a-z][a-z-]*)", section_of(text, "options"), re.MULTILINE)
    calls = {verb: {name: short for short, name in options}}
    verbs = re.findall(r"^  ([a-z]\S*)", section_of(text, "subcommands"), re.MULTILINE)
    if verb and verbs:
        calls = {}
    for name in verbs:
        calls |= calls_of(program, (*verb, name))
    return calls


def options_of(program):
    return set().union(*calls_of(program).values())


def flags_in(line):
    """The arguments of Fl, up to the next macro: "-long" or "s"."""
    flag = False
    for word in line.split():
        if re.fullmatch(r"\.?[A-Z][a-z]", word):
            flag = word.endswith("Fl")
        elif flag and re.fullmatch(r"-?[a-z][a-z-]*", word):
            yield word


def long_flags_in(lines):
    return {flag[1:] for line in lines for flag in flags_in(line) if flag.startswith("-")}


class Page:
    def __init__(self, name):
        self.text = (FOLDER / name).read_text(encoding="utf-8")
        self.macros = [line for line in self.text.splitlines() if line.startswith(".")]

    def section(self, name):
        begin = self.macros.index(f".Sh {name}") + 1
        ends = [i for i, line in enumerate(self.macros) if line.startswith(".Sh ") and i > begin]
        return self.macros[begin:min(ends)]

    def calls(self):
        """The synopsis: the flags of each verb."""
        calls, verb = {}, ()
        for line in self.section("SYNOPSIS"):
            if line.startswith(".Nm"):
                verb = ()
            elif line.startswith(".Cm "):
                verb = tuple(line.split()[1:])
            calls.setdefault(verb, set()).update(flags_in(line))
        return calls

    def entries(self):
        """The long options that have an entry."""
        return long_flags_in(line for line in self.macros if line.startswith(".It "))

    def verbs(self):
        """The verbs that have an entry."""
        if ".Sh VERBS" not in self.macros:
            return set()
        lines = "\n".join(self.section("VERBS")).replace(".It Xo\n.Cm", ".It Cm").splitlines()
        return {tuple(re.match(r"((?: [a-z]+)+)", line[len(".It Cm"):])[1].split()) for line in lines
                if line.startswith(".It Cm ")}

    def commands(self):
        """The commands of the examples that run one of our programs, as words."""
        for display in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", self.text, re.MULTILINE | re.DOTALL):
            for line in display.replace("\\e\n", " ").splitlines():
                for command in re.split(r"&&|\|", line.removeprefix("$ ")):
                    words = command.split()
                    if words and words[0] in PAGES:
                        yield words


class Man(unittest.TestCase):
    maxDiff = None

    def test_the_synopsis_has_each_verb_with_its_options(self):
        for program, name in PAGES.items():
            with self.subTest(page=name):
                wanted = {}
                for verb, options in calls_of(program).items():
                    # A flag is written short where it can be; help in full, and for the program alone.
                    wanted[verb] = {short or f"-{option}" for option, short in options.items() if option != "help"}
                wanted[()] |= {"h", "-help"}
                self.assertEqual(wanted, Page(name).calls())

    def test_each_option_and_each_verb_has_an_entry(self):
        for program, name in PAGES.items():
            with self.subTest(page=name):
                page = Page(name)
                self.assertEqual(options_of(program), page.entries())
                self.assertEqual({verb for verb in calls_of(program) if verb}, page.verbs())

    def test_no_page_names_an_option_that_does_not_exist(self):
        for program, name in PAGES.items():
            with self.subTest(page=name):
                self.assertEqual(set(), long_flags_in(Page(name).macros) - options_of(program))
        everywhere = set().union(*(options_of(program) for program in PAGES))
        for path in FOLDER.glob("*.5"):
            with self.subTest(page=path.name):
                self.assertEqual(set(), long_flags_in(Page(path.name).macros) - everywhere)

    def test_examples_use_options_of_the_verb_that_they_call(self):
        for path in FOLDER.iterdir():
            for program, *words in Page(path.name).commands():
                with self.subTest(page=path.name, command=" ".join((program, *words))):
                    calls = calls_of(program)
                    verb = max((verb for verb in calls if tuple(words[:len(verb)]) == verb), key=len)
                    self.assertTrue(verb or set(calls) == {()}, "no verb")
                    used = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
                    self.assertEqual(set(), used - {*calls[verb], *calls[()]})

    def test_each_setting_has_an_entry_with_its_range_and_default(self):
        settings = re.findall(r"(\w+\.\w+)\s[^;]*;\s+(.*?)\s+\(default\s+(\S+)\)",
                              help_of("dslad").partition("Settings:")[2], re.DOTALL)
        entries = dict(re.findall(r"^\.It Cm (\w+\.\w+)\n(.*?)(?=^\.(?:It|El)\b)", Page("dslad.toml.5").text,
                                  re.MULTILINE | re.DOTALL))
        self.assertGreater(len(settings), 5)
        self.assertEqual({name for name, _, _ in settings}, set(entries))
        for name, bounds, default in settings:
            for value in (*re.findall(r"\d+", bounds), default):
                with self.subTest(setting=name, value=value):
                    self.assertIn(value, entries[name])

    @unittest.skipUnless(shutil.which("mandoc"), "skipped: no mandoc")
    def test_mandoc_finds_no_fault(self):
        pages = sorted(FOLDER.iterdir())
        self.assertLess(len(PAGES), len(pages))
        for path in pages:
            with self.subTest(page=path.name):
                done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, encoding="utf-8", timeout=PATIENCE)
                self.assertEqual("", done.stdout)


if __name__ == "__main__":
    unittest.main()
