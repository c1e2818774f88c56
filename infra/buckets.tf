# Soft delete is off, so that a deletion is final. Sources show people who did not want to be seen, and the work bucket
# contains embeddings until a job's tracks are linked.

resource "google_storage_bucket" "intake" {
  name                        = local.buckets.intake
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  # A job continues with its own version when the same name is uploaded again. Deleting a source deletes its version.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 1
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  # The console's pages upload videos directly from the browser.
  dynamic "cors" {
    for_each = var.console == null ? [] : [local.console_origins]
    content {
      origin          = cors.value
      method          = ["GET", "PUT"]
      response_header = ["Content-Range", "Content-Type", "Range"]
      max_age_seconds = 3600
    }
  }

  # Target pictures and policies are in this bucket too and must stay. A rule without a prefix would delete them.
  dynamic "lifecycle_rule" {
    for_each = var.keep_sources_days == null || length(var.channels) == 0 ? [] : [var.keep_sources_days]
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = [for name in keys(var.channels) : "channels/${name}/videos/"]
      }
    }
  }

  # The folders of other channels are unknown here, so match the suffix of their videos.
  dynamic "lifecycle_rule" {
    for_each = var.keep_sources_days == null ? [] : [var.keep_sources_days]
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_suffix = local.video_suffixes
      }
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

resource "google_storage_bucket" "work" {
  name                        = local.buckets.work
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  # A job's end deletes its segments and embeddings. This rule deletes the rest, and what a crash left behind.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = var.keep_work_days
    }
  }

  # Command lines and their output, which can name people (commands.tf).
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 1
      matches_prefix = ["commands/"]
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

resource "google_storage_bucket" "output" {
  name                        = local.buckets.output
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Versioning, if enabled, is the one way to restore a replaced result.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  versioning {
    enabled = var.keep_replaced_results_days > 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = max(1, var.keep_replaced_results_days)
      with_state                 = "ARCHIVED"
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

# Google lets a project's viewers list a new bucket and read its objects, by these two roles
# (https://cloud.google.com/storage/docs/access-control/iam-roles#basic-roles-modifiable). A binding of no member removes
# the role. Owners and editors keep their own roles, because a deployment needs them.
resource "google_storage_bucket_iam_binding" "no_viewers" {
  for_each = {
    for pair in setproduct(["intake", "work", "output"], ["legacyBucketReader", "legacyObjectReader"]) :
    "${pair[0]}/${pair[1]}" => { bucket = pair[0], role = "roles/storage.${pair[1]}" }
  }
  bucket  = local.bucket_names[each.value.bucket]
  role    = each.value.role
  members = []
}

resource "google_storage_notification" "uploads" {
  bucket             = google_storage_bucket.intake.name
  topic              = google_pubsub_topic.topic["uploads"].id
  payload_format     = "JSON_API_V1"
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = "channels/"

  depends_on = [google_pubsub_topic_iam_member.storage_publishes]
}

locals {
  video_suffixes = flatten([
    for suffix in [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".3gp"] :
    [suffix, upper(suffix)]
  ])
}
