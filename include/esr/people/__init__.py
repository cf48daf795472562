"""People: what ESR's records say of a person, and how TCS is brought up to date."""
