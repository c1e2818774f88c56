"""The pipeline on one machine: the same functions, against emulators of Cloud Storage and Pub/Sub."""
