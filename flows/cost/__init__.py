"""What runs cost: devices and seconds by stage, attempt and trial, what of it was wasted, and in money. Read from the store alone; no torch."""
