"""The gate: may a candidate take the champion's place? Compared on the same samples, with intervals; imports no torch."""
