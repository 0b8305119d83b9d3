"""Where modelyard runs: the local stack, and recipes for clusters (README.md beside this file)."""
