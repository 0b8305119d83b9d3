"""Tiny raw files of each data set, in the format of its origin: `write(raw)` makes them, `PREPARE` makes what is generated small.

`EXPERIMENT` (experiment -> overrides) makes a large model small: what the contract asks does not depend on width.
"""
