"""Data of one's own for the nights: a table that grows and moves, and the file under conf/data that makes a data set of it."""

from __future__ import annotations

import numpy as np

DATA = """
name: sales
title: Sales
licence: mine
homepage: none
fetch: {path: sales.csv}
prepare:
  _target_: components.data.sources.table.read_table
  file: sales.csv
  target: sales
  kind: regression
  validation_fraction: 0.1
  test_fraction: 0.3
  seed: 0
"""


def write_sales(root, rows, price=0.0):
    """Sales = 3 x price - 2 x rain + 10, and noise of 0.5; the first rows stay when there are more. `price`: what all prices rose by."""
    draws = np.random.default_rng(0).normal(size=(rows, 3)) + np.array([price, 0, 0])
    table = [f"{p:.4f},{r:.4f},{3 * p - 2 * r + 10 + 0.5 * e:.4f}" for p, r, e in draws]
    (root / "sales.csv").write_text("\n".join(["price,rain,sales", *table]) + "\n")
