"""Generative models: what draws new samples like those of the data."""
