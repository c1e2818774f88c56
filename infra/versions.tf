terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50, < 9"
    }
  }

  # deploy.sh makes this bucket and names it: a state on one person's disk is lost with the disk.
  backend "gcs" {
    prefix = "defacer"
  }
}

provider "google" {
  project = var.project
  region  = var.region

  # A person's own login may make a budget only in the name of a project that pays for the call.
  user_project_override = var.billing_account != null
  billing_project       = var.project
}

data "google_project" "this" {
  project_id = var.project
}
