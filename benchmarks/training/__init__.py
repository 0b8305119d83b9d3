"""The speed of training against what a user would pick instead, as ratios within the same run.

Each contender trains the same model on the same batches with the same optimizer, schedule and clipping; tests/benchmarks holds their losses equal.
"""
