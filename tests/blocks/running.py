"""Runs blocks: those of a page in order, Python in one namespace, everything in one folder."""

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import seeing
from blocks import commands, files, shell, stand_ins
from blocks.pages import BLOCKS
from blocks.server import served


class World:
    """A server, the executables, and what each page has come to."""

    def __init__(self, folder):
        self.folder = folder
        self._open = contextlib.ExitStack()
        self.address = self._open.enter_context(served())
        (folder / "bin").mkdir()
        commands.write(folder / "bin")
        self._pages, self._vision = {}, None

    def page(self, path):
        """The page at `path`, none of whose blocks has run yet."""
        if path not in self._pages:
            self._pages[path] = Page(self, path)
        return self._pages[path]

    def vision(self):
        """The folder of a small model that sees."""
        if self._vision is None:
            model, processor = seeing.model_and_processor()
            self._vision = self.folder / "vision"
            model.save_pretrained(self._vision)
            processor.save_pretrained(self._vision)
        return self._vision

    def close(self):
        """End the server."""
        self._open.close()


class Page:
    """The blocks of one page, run one after the other up to the one that is asked for."""

    def __init__(self, world, path):
        self.world, self.blocks = world, [block for block in BLOCKS if block.page == path]
        self.folder = world.folder / path.stem
        self.folder.mkdir()
        files.write(self.folder)
        self.names = {"__name__": "__main__"}
        self.printed = ""
        self.environment = stand_ins.environment(world.address)
        self.done = 0
        if path.name in stand_ins.PRELUDE:
            self._python(self._replaced(stand_ins.PRELUDE[path.name]), "prelude")

    def run(self, block):
        """Run `block`, and before it what stands before it and was not run."""
        last = self.blocks.index(block)
        for place in range(self.done, last + 1):
            self.done = place + 1
            self._one(self.blocks[place])

    def _one(self, block):
        text = self._replaced(shell.script_of(block) if block.kind == "console" else block.text)
        if block.kind == "python":
            self.printed = self._python(text, str(block))
        elif block.kind in ("shell", "console"):
            self.printed = self._shell(text)
        if block.kind == "console":
            self._shows(shell.shown_in(block))
        if block.kind == "text" and self._follows_code(block):
            self._shows(block.text.splitlines())

    def _replaced(self, text):
        world = self.world
        return stand_ins.text(text, address=world.address, vision=world.vision, folder=self.folder)

    def _python(self, text, name):
        """Run it in the page's folder and namespace, top-level `await` allowed as in a notebook; what it printed."""
        code = compile(text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        out = io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.chdir(self.folder))
            stack.enter_context(mock.patch.dict(os.environ, self.environment))
            stack.enter_context(stand_ins.python(text))
            stack.enter_context(contextlib.redirect_stdout(out))
            if inspect.CO_COROUTINE & code.co_flags:
                asyncio.run(eval(code, self.names))
            else:
                exec(code, self.names)
        return out.getvalue()

    def _shell(self, text):
        """Run it by bash, which stops at the first command that fails; what it printed."""
        here = Path(sys.executable).parent
        path = f"{self.world.folder / 'bin'}:{here}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{text}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def _follows_code(self, block):
        """Whether nothing but blank lines stands between a block of code and this one."""
        before = [one for one in self.blocks if one.line < block.line]
        if not before or before[-1].kind not in ("python", "shell"):
            return False
        return before[-1].line + before[-1].text.count("\n") + 2 >= block.line - 1

    def _shows(self, lines):
        """Each line was printed, figures of a run and the width of spaces aside; "..." stands for anything."""
        printed = _form(self.printed)
        for line in filter(str.strip, lines):
            pattern = re.escape(_form(self._replaced(line))).replace(re.escape("..."), ".*")
            assert re.search(pattern, printed), f"not printed: {line}\nprinted: {self.printed}"


def _form(text):
    return re.sub(r"[ \t]+", " ", re.sub(r"\d[\d,]*(?:\.\d+)?", "#", text))
