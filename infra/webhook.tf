# Tells a receiver outside of each job's end (functions/webhook). Only where var.webhook says whom.
locals {
  # By this name, to have none of each where there is no receiver. local_emulator/resources.py has the same (WEBHOOK).
  webhooks = var.webhook == null ? {} : {
    webhook = {
      topic                 = "job-events"
      acknowledge_seconds   = 60
      concurrency           = 4
      max_delivery_attempts = 100
      dead_letter_topic     = "dead-letters"
    }
  }
}

resource "google_service_account" "webhook" {
  for_each     = local.webhooks
  account_id   = "defacer-${each.key}"
  display_name = "De-facer: ${each.key}"
  depends_on   = [google_project_service.used]
}

# It reads that one secret, and nothing else: no bucket, no topic.
resource "google_secret_manager_secret_iam_member" "webhook" {
  for_each  = local.webhooks
  secret_id = var.webhook.secret_name
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.webhook[each.key].member
}

resource "google_cloud_run_v2_service" "webhook" {
  for_each            = local.webhooks
  name                = each.key
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = false

  template {
    service_account                  = google_service_account.webhook[each.key].email
    timeout                          = "${each.value.acknowledge_seconds - 10}s"
    max_instance_request_concurrency = each.value.concurrency

    scaling {
      min_instance_count = 0
      max_instance_count = 2
    }

    containers {
      image = "${local.registry}/base:${var.tag}"
      args = [
        "--threads=${each.value.concurrency + 2}",
        "functions.serve:application('${each.key}')",
      ]

      dynamic "env" {
        for_each = merge(local.environment, { DEFACER_WEBHOOK_URL = var.webhook.url })
        content {
          name  = env.key
          value = env.value
        }
      }

      env {
        name = "DEFACER_WEBHOOK_SECRET"
        value_source {
          secret_key_ref {
            secret  = var.webhook.secret_name
            version = "latest"
          }
        }
      }

      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 5
        failure_threshold = 24
        http_get {
          path = "/health"
        }
      }
    }
  }

  depends_on = [google_project_service.used, google_secret_manager_secret_iam_member.webhook]
}

resource "google_cloud_run_v2_service_iam_member" "webhook_invoker" {
  for_each = google_cloud_run_v2_service.webhook
  name     = each.value.name
  location = each.value.location
  role     = "roles/run.invoker"
  member   = google_service_account.pusher.member
}

resource "google_pubsub_subscription" "webhook" {
  for_each = local.webhooks
  name     = each.key
  topic    = google_pubsub_topic.topic[each.value.topic].id
  # Nobody outside is told that a job was planned.
  filter = "attributes.type = \"job.completed\" OR attributes.type = \"job.failed\""

  ack_deadline_seconds       = each.value.acknowledge_seconds
  message_retention_duration = "604800s"

  push_config {
    push_endpoint = "${google_cloud_run_v2_service.webhook[each.key].uri}/"

    oidc_token {
      service_account_email = google_service_account.pusher.email
      audience              = google_cloud_run_v2_service.webhook[each.key].uri
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

  expiration_policy {
    ttl = ""
  }

  depends_on = [
    google_pubsub_topic_iam_member.letters_go_on,
    google_cloud_run_v2_service_iam_member.webhook_invoker,
  ]
}

resource "google_pubsub_subscription_iam_member" "webhook_letters_leave" {
  for_each     = google_pubsub_subscription.webhook
  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
