"""Files for ESR: picked, numbered, written, checked, archived, sent."""
