"""Benchmarks: one script a table, each measured against a peer in the same run."""
