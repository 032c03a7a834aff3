"""What people write today for the same work: the peers that ftkit is timed against."""
