"""Metrics: what an evaluation counts, exact on any number of workers."""
