"""Models: one package a family, one module a system."""
