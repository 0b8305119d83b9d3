"""What a Prefect server of one's own needs beside the deployments of prefect.yaml: its automations."""
