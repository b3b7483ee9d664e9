"""Runs a command on a terminal of its own and types a line at its prompt: usage terminal.py LINE COMMAND [ARG ...]."""

import os
import pty
import signal
import sys
import termios
import time

line, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
output, typed = b"", False
signal.alarm(30)  # Whatever it waits for, it does not wait for ever.
while True:
    try:
        read = os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side is closed.
        break
    if not read:
        break
    output += read
    if not typed and output.endswith(b": "):  # Once: what it says later may come in pieces that end so, too.
        while termios.tcgetattr(terminal)[3] & termios.ECHO:  # It asks before it hides what is typed.
            time.sleep(0.001)
        os.write(terminal, line.encode() + b"\n")
        typed = True
sys.stdout.write(output.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
