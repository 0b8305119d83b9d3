"""The night: each model of a list trained on the newest data if anything changed, judged, promoted or not, and told of in one digest."""
