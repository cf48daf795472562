"""The connector kernel: reads partner APIs as their manifests say.

Light to import: what talks HTTP is imported when a connector is opened and read.
"""
