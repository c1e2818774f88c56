"""The deployment to Google Cloud: Terraform, images, bill of materials and cost model."""
