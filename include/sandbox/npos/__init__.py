"""Three invented NPO systems as real HTTP servers: ``python -m include.sandbox.npos``.

Nothing here is imported by product code, and nothing here imports product code: a mistake shared
by both sides would test nothing.
"""
