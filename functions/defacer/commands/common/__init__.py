"""What all commands of `defacer` share: loading, options, help and errors."""
