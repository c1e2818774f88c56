terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # iap_enabled needs 7.21. The first deployment writes the hashes of this version into .terraform.lock.hcl.
      version = "7.21.0"
    }
  }

  # deploy.sh creates this bucket and passes its name. A local state would be lost with the disk.
  backend "gcs" {
    prefix = "defacer"
  }
}

provider "google" {
  project = var.project
  region  = var.region

  # With a user login, the budget API requires a project that is billed for the call.
  user_project_override = var.billing_account != null
  billing_project       = var.project
}

data "google_project" "this" {
  project_id = var.project
}
