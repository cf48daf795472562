"""The event envelope, topics and schemas."""
