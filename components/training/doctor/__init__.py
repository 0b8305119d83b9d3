"""The checks that run before training (notes 002 section 14, items D1 to D20): `modelyard doctor experiment=...`."""
