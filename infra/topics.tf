resource "google_pubsub_topic" "topic" {
  for_each     = toset(local.topics)
  name         = each.key
  kms_key_name = var.kms_key_name

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.used, google_kms_crypto_key_iam_member.agents]
}

resource "google_pubsub_subscription" "push" {
  for_each = local.functions
  name     = each.key
  topic    = google_pubsub_topic.topic[each.value.topic].id
  filter   = lookup(local.filters, each.key, null)

  ack_deadline_seconds       = each.value.ack_deadline_seconds
  message_retention_duration = "604800s"

  push_config {
    push_endpoint = "${local.urls[each.key]}/"

    oidc_token {
      service_account_email = google_service_account.pusher.email
      audience              = local.urls[each.key]
    }
  }

  retry_policy {
    minimum_backoff = "${local.retries.minimum_seconds}s"
    maximum_backoff = "${local.retries.maximum_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.topic[each.value.dead_letter_topic].id
    max_delivery_attempts = each.value.max_delivery_attempts
  }

  # Without this an idle subscription is deleted after 31 days.
  expiration_policy {
    ttl = ""
  }

  # Without these grants Pub/Sub does not count delivery attempts, and the first pushes are rejected.
  depends_on = [
    google_pubsub_topic_iam_member.dead_letter_publisher,
    google_cloud_run_v2_service_iam_member.function_invoker,
  ]
}

# No program pulls from this subscription, so its messages are never delivered and need no further dead-letter topic.
resource "google_pubsub_subscription" "keeper" {
  name  = local.keeper.name
  topic = google_pubsub_topic.topic[local.keeper.topic].id

  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }
}

# A job can wait for a person, and no message ends the wait (functions/defacer/pipeline/README.md). Google grants the agent of
# Cloud Scheduler the right to publish when the service is enabled.
resource "google_cloud_scheduler_job" "review_clock" {
  name        = "defacer-review-clock"
  description = "Ends the waits for a person whose time is over."
  region      = var.region
  schedule    = local.review_clock.schedule
  time_zone   = "Etc/UTC"

  pubsub_target {
    topic_name = google_pubsub_topic.topic[local.review_clock.topic].id
    data       = base64encode("{}")
    attributes = { type = local.review_clock.type }
  }

  retry_config {
    retry_count = 3
  }

  depends_on = [google_project_service.used]
}
