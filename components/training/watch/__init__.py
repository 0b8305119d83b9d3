"""What looks for faults while training runs: activations, gradients, updates (notes 002 section 14)."""
