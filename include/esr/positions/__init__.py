"""Positions: merged from POS and POR, matched with TCS's posts."""
