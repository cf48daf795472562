"""Benchmarks: each prints one JSON line, a peer beside us in the same run."""
