"""The local stand-ins for Cloud Storage and Pub/Sub, with what the pipeline creates in them."""
