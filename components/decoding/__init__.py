"""From what a model gives to what is meant, and back."""
