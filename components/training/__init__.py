"""HOW: the loop, its session, checkpoints, the evaluator and the journal."""
