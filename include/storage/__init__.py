"""The integration store (MongoDB) and the landing zone (S3)."""
