"""What a supervisor runs and keeps: a run's workers, the child runs of a sweep or pipeline, the log, how each ended. Torch-free."""
