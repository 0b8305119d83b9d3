"""Where a checkpoint comes from, what depends on what, whether anything was changed, and having it again: offline, from the store alone."""
