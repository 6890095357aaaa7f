"""Somebody at a terminal: runs a command in one, and answers what it asks.

Started with the answers, a line each, and the command. A question is what ends with
a colon and no line end. Its exit code is the command's.
"""

import os
import pty
import re
import sys


def main() -> int:
    """Run the command; return its exit code."""
    answers = sys.argv[1].split("\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[2], sys.argv[2:])
    unread = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the command has ended
            break
        if not part:
            break
        os.write(1, part)
        unread = (unread + part).rpartition(b"\n")[2]
        if answers and re.search(rb"[:?\]] ?$", unread):
            os.write(terminal, f"{answers.pop(0)}\n".encode())
            unread = b""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
