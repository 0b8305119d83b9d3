"""What fits a model without gradient steps, one module a procedure (components/training/procedure.py says what a procedure is)."""
