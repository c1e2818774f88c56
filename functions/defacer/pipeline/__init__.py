"""What the functions share: contracts, object names, storage, settings, errors, logs. Knows no faces."""
