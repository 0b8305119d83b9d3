"""Codecs: targets to what a model is trained on, and what it puts out to what was meant."""
