"""Trained models on their way out: a directory that loads where this package is not installed, its card, its speed and its size."""
