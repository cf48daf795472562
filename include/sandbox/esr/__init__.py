"""An invented ESR: people, posts and positions by seed, and the files that tell of them.

Nothing here is imported by product code, and nothing here imports product code: a mistake shared
by both sides would test nothing.
"""
