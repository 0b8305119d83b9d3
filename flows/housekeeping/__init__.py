"""Keeping a store small: what may go, what must stay, and taking it out beside runs that go on (docs/store.md)."""
