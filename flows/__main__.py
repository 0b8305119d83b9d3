"""`modelyard`, and `python -m flows`. While the command line is imported a Ctrl-C ends the process at once: nothing has begun that wants an end."""

import os
import signal


def _leave(number: int, frame: object) -> None:
    os.write(2, b"interrupted: nothing had begun\n")
    os._exit(130)


for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, _leave)

from flows.cli import entry  # noqa: E402 - the imports take a while

if __name__ == "__main__":
    entry()
