"""What the store costs: the unchanged command against `dvc repro`, look-ups among many runs, the commit of a stage."""
