"""The loop over an objective: step, log, checkpoint, resume."""
