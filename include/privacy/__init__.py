"""Personal data of the NPO side: erasure of one candidate, retention, and an NPO that leaves."""
