"""One thin file for each outside system: DVC, Ray, W&B, Prefect. Each imports its system inside functions."""
