"""Side by side with what a user would pick instead: `python -m benchmarks.NAME` prints a table and keeps JSON under benchmarks/results/."""
