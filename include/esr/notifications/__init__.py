"""Notifications: who is in a post, who comes next, and what changed of it."""
