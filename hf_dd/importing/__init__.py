"""Sets that other tools released, read and checked against their source."""
