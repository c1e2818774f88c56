"""The local emulator: it runs the functions on one machine, against emulators of Cloud Storage and Pub/Sub."""
