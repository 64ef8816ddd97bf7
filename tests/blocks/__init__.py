"""Every fenced block of the README and of docs/ is run, or checked, as far as a machine without a GPU and a network can.

pages.py       the blocks of a page
stand_ins.py   what is put in the place of what, and why: the table to read first
server.py      the server on loopback that judges as the embedded judge does
files.py       the files that pages read
commands.py    what stands on PATH in the place of `pip`, `make`, `vllm` and others, and checks what it is told
shell.py       the commands of a shell block, for the check that runs nothing
running.py     runs a block
"""
