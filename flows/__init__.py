"""WHEN and WHERE: the command line, the Prefect flow, the store, and one thin adapter for each outside system."""
