"""Reporting: pages and summaries drawn from a run's directory alone. Imports no torch, so that a report is drawn anywhere."""
