"""Confirmations: what ESR answers to the files it was sent."""
