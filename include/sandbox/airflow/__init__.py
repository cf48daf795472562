"""Airflow's components on top of the local stack, as children of our own supervisor."""
