"""devinterp's modules with our functions in them, so that tests written for it run on ours: its documented names, nothing else."""
