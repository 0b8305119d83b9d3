"""How far one data version lies from another, and whether that is more than chance."""
