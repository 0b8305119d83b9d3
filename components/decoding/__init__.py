"""From what networks give to what people read, and back: one codec a kind of target."""
