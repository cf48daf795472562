"""Real servers from packages, started and stopped as one stack."""
