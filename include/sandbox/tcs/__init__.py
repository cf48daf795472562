"""A stand-in for TCS as a real HTTP server: ``python -m include.sandbox.tcs``.

Nothing here is imported by product code, and nothing here imports product code: a mistake shared
by both sides would test nothing.
"""
