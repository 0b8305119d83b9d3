"""A local stack on loopback: Prefect server, process worker, Ray head. `python -m infra.stack up | down | status`; `make up`, `make down`."""
