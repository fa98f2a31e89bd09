"""From a reference to frozen networks at commits, and what they say of a data set."""
