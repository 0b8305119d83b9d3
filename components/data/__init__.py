"""From raw archives to batches: fetch, prepare, check, read, sample, transform. The fetch and prepare stages import no torch."""
