# Astronomer's runtime for Airflow 3.3. Any newer 3.3-N may stand here; a change of Airflow's own
# version goes together with requirements.txt and constraints.txt. The base image's build triggers
# install packages.txt and requirements.txt and copy the project to /usr/local/airflow.
FROM astrocrpublic.azurecr.io/runtime:3.3-8

# Neither Great Expectations nor dlt may call home.
ENV GX_ANALYTICS_ENABLED=false \
    RUNTIME__DLTHUB_TELEMETRY=false \
    PYTHONPATH=/usr/local/airflow

COPY --chmod=0755 bin/spotlight /usr/local/bin/spotlight
