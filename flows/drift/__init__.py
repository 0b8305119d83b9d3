"""Drift: have the data moved since the champion was trained? Then retraining is asked for, once for each data version."""
