"""What fits a model without gradient steps of its own, or with those of several trainings."""
