"""`python -m components.data fetch KEY` and `... prepare KEY`: what dvc.yaml's stages run. Bad input: a message, exit code 2."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from pathlib import Path

from components.data.stage import run_stage
from components.errors import UserError
from components.files import write_json

ERROR_FILE_VARIABLE = "MODELYARD_STAGE_ERROR"  # where the caller wants the parts of a UserError: DVC passes on text only
_USER_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: list[str]) -> int:
    """Run one stage and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.data", description=__doc__)
    parser.add_argument("stage", choices=["fetch", "prepare"])
    parser.add_argument("key", help="a key of `data` in params.yaml")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
    try:
        print(run_stage(chosen.stage, chosen.key, Path.cwd()), file=sys.stderr)
    except UserError as error:
        return _tell(error)
    except OSError as error:
        if error.errno not in _USER_ERRNOS:
            raise
        return _tell(
            UserError(f"the data cannot be written: {error.strerror}", received=error.filename, mend="mend its permissions or free some space")
        )
    except KeyboardInterrupt:
        return 130  # as a shell counts it; what was half made is removed by now
    return 0


def _tell(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    if path := os.environ.get(ERROR_FILE_VARIABLE):
        write_json(Path(path), {"what": error.what, **{k: _text(getattr(error, k)) for k in ("received", "expected", "mend")}})
    return 2


def _text(value: object) -> str | None:
    return None if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
