"""WHAT: plain PyTorch building blocks. Nothing in here imports Ray, Prefect, DVC, W&B or Hydra."""
