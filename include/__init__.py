"""Everything that is not wiring: plain Python that runs and is tested without Airflow."""
