"""Tasks: what one step, one prediction and one evaluation mean for a kind of system."""
