"""Local partner systems and the local stack; never imported by the pipelines."""
