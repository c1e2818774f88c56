resource "google_artifact_registry_repository" "images" {
  repository_id = "defacer"
  description   = "The images of De-facer: base, cpu, gpu"
  location      = var.region
  format        = "DOCKER"
  kms_key_name  = var.kms_key_name

  # Keep the last five versions of each image for rollbacks. Tags are not immutable, because an image with an immutable
  # tag is never deleted: https://cloud.google.com/artifact-registry/docs/repositories/update-repo-settings
  cleanup_policies {
    id     = "keep-the-last-five"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }
  cleanup_policies {
    id     = "delete-older-ones"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.used, google_kms_crypto_key_iam_member.agents]
}

# infra/deploy.sh stages the source of a build here for Cloud Build.
resource "google_storage_bucket" "builds" {
  name                        = "${var.project}-builds"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 1
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.used, google_kms_crypto_key_iam_member.agents]
}

locals {
  registry = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}
