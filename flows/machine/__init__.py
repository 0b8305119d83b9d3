"""What `modelyard doctor` without arguments looks at: the machine that the pipeline is to run on. Each check is a small function from a Machine to
findings; look.py has the table. Nothing heavy is imported: what torch, Ray and Prefect would stumble over is told from metadata and files."""
