"""Enrolment: what the platform asks for is done at the NPO, and the answer is published."""
