"""The stages of an NPO run."""
