"""A temporary Prefect server on a loopback port, for one driver: it ends when its driver does."""

from __future__ import annotations

import os
import sys
import threading
import time

_POLL_SECONDS = 0.5


def main(port: int) -> None:
    """Serve Prefect's API without pages until told to end or orphaned."""
    os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    os.environ.pop("PREFECT_API_URL", None)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
