"""``tieline`` for a shell: has the zygote fork the command, and ends as it ends.

Started with an address and the command's words. Whatever signal comes is passed on.
It imports as little as can be: it is started for every command of every page.
"""

import json
import os
import signal
import socket
import sys


def main() -> int:
    """Call the zygote; return the exit code."""
    came, pids = [], []

    def pass_on(number, _frame):
        came.append(number)
        for pid in pids:
            os.kill(pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    asked = {
        "args": sys.argv[2:],
        "env": dict(os.environ),
        "cwd": os.getcwd(),  # noqa: PTH109 - pathlib takes as long as the rest
        "is_leader": False,
    }
    text = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(sys.argv[1])
        socket.send_fds(wire, [len(text).to_bytes(4, "big")], [0, 1, 2])
        wire.sendall(text)
        with wire.makefile("r") as words:
            pids.append(int(words.readline()))
            for number in came:  # before it was known whom to pass it on to
                os.kill(pids[0], number)
            code = int(words.readline() or -9)
            pids.clear()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
