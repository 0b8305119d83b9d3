"""What fits a model without gradient steps."""
