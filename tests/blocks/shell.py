"""The commands of a shell block: their words, without running any of them."""

import re
import shlex

ENDS = {";", "&&", "||", "|", "&", "(", ")", ";;"}
HEREDOC = re.compile(r"<<-?\s*'?\"?(\w+)'?\"?[^\n]*\n.*?^\s*\1$", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
KEYWORDS = {"if", "then", "else", "fi", "for", "do", "done", "while", "in", "{", "}", "!", "time", "exec"}


def script_of(block):
    """What is to be run: of a console block the lines behind a "$ ", with those that go on."""
    if block.kind != "console":
        return block.text
    lines, going_on = [], False
    for line in block.text.splitlines():
        if line.startswith("$ ") or going_on:
            lines.append(line.removeprefix("$ ") if not going_on else line.removeprefix("> "))
            going_on = line.endswith("\\")
    return "\n".join(lines) + "\n"


def shown_in(block):
    """What a console block prints, line by line."""
    commands = {line.strip() for line in script_of(block).splitlines()}
    return [
        line
        for line in block.text.splitlines()
        if line.strip() and not line.startswith(("$ ", "> ")) and line.strip() not in commands
    ]


def commands_of(script):
    """The commands of a script, each a list of words; redirections and assignments are left out."""
    script = HEREDOC.sub("", script).replace("\\\n", " ")
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split, lexer.commenters = True, "#"
        yield from _split(list(lexer))


def _split(words):
    command, skip = [], False
    for word in [*words, ";"]:
        if skip:
            skip = False
        elif word in ENDS:
            if command:
                yield command
            command = []
        elif re.fullmatch(r"\d*[<>]+&?", word):
            skip = True
        elif not command and (ASSIGNMENT.match(word) or word in KEYWORDS):
            continue
        else:
            command.append(word)
