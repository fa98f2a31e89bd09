"""One loop that trains any network, and what its logits are compared with."""
