"""The way to Google Cloud: Terraform, images, and what they cost."""
