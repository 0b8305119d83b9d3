"""`python -m infra.prefect`: bring the automations to the server that PREFECT_API_URL names. Idempotent."""

import os
import sys

from components.errors import RunError, UserError
from infra.prefect.api import Api
from infra.prefect.automations import apply

if __name__ == "__main__":
    try:
        if not (url := os.environ.get("PREFECT_API_URL")):
            raise UserError("no Prefect server is named", received="PREFECT_API_URL is not set", mend="export PREFECT_API_URL=http://HOST:4200/api")
        for line in apply(Api(url, os.environ.get("PREFECT_API_AUTH_STRING"))):
            print(line)
    except (UserError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
