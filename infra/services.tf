locals {
  services = concat(
    [
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudscheduler.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "storage.googleapis.com",
    ],
    var.kms_key_name == null ? [] : ["cloudkms.googleapis.com"],
    var.webhook == null ? [] : ["secretmanager.googleapis.com"],
    var.console == null ? [] : ["iamcredentials.googleapis.com"],
    length(local.pages) == 0 ? [] : ["iap.googleapis.com"],
    var.billing_account == null ? [] : ["billingbudgets.googleapis.com"],
  )
}

resource "google_project_service" "used" {
  for_each = toset(local.services)
  service  = each.key

  # Other resources in the project might need the service.
  disable_on_destroy = false
}
