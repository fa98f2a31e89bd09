"""The use cases, each from options to a result: what the command line runs and what `hf_dd` exports."""
