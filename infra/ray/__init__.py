"""Ray clusters: the launcher's files, and what scripts ask of a cluster."""
