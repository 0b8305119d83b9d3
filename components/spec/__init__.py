"""The frozen specification of a run: its schema, its parsing from plain data, and the targets that it names."""
