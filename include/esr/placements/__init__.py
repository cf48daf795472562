"""Placements of posts as TCS has them, and as they were seen last."""
