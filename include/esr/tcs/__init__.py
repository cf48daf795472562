"""TCS, the core REST service: one typed client with bulk calls, and calls that happen exactly once."""

from include.esr.tcs.client import Tcs

__all__ = ["Tcs"]
