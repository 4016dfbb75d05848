"""What has been computed: steps on disk (`store`), the code that made them (`fingerprints`), their cost (`measure`)."""
