"""The generated parts of the documentation. `make reference` writes them, and a test compares them."""
