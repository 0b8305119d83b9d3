"""Searching the configuration: what a trial is, what a search asks for, what came out. Ray Tune itself is flows/adapters/tune*.py."""
