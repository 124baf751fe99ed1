"""The chain of stages as Slurm jobs: what a site asks for, the scripts, their submission, and what became of them."""
