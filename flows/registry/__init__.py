"""The registry of a store: which version of each model is champion, what it was made from, why it was promoted, how to go back."""
