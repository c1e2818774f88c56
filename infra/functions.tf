locals {
  urls = merge(
    { for name, service in google_cloud_run_v2_service.function : name => service.uri },
    { worker = google_cloud_run_v2_service.worker.uri },
  )

  # The image's stage (infra/Dockerfile), resources and instance limit of each function except the worker.
  # merge can link four videos of DEFACER_MAX_DETECTIONS (3,000,000, 0.4 kB each) at a time.
  every_size = {
    ingest      = { stage = "cpu", cpu = "2", memory = "4Gi", max_instances = 10 }
    merge       = { stage = "base", cpu = "2", memory = "8Gi", max_instances = 20 }
    dead-letter = { stage = "base", cpu = "1", memory = "1Gi", max_instances = 2 }
    webhook     = { stage = "base", cpu = "1", memory = "512Mi", max_instances = 2 }
  }
  sizes = { for name, size in local.every_size : name => size if lookup(local.optional, name, true) }

  # Environment variables of single functions in addition to local.environment: values, and secrets in Secret Manager.
  values = {
    ingest  = { DEFACER_MAX_FRAME_PIXELS = tostring(local.worker.max_pixels) }
    webhook = { DEFACER_WEBHOOK_URL = try(var.webhook.url, null) }
  }
  secrets = { webhook = { DEFACER_WEBHOOK_SECRET = try(var.webhook.secret_name, null) } }
}

resource "google_cloud_run_v2_service" "function" {
  for_each            = local.sizes
  name                = each.key
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = false

  template {
    service_account                  = google_service_account.function[each.key].email
    timeout                          = "${local.functions[each.key].ack_deadline_seconds - 10}s"
    max_instance_request_concurrency = local.functions[each.key].concurrency

    scaling {
      min_instance_count = 0
      max_instance_count = each.value.max_instances
    }

    containers {
      image = "${local.registry}/${each.value.stage}:${var.tag}"
      args = [
        "--threads=${local.functions[each.key].concurrency + 2}",
        "defacer.serve:application('${replace(each.key, "-", "_")}')",
      ]

      dynamic "env" {
        for_each = merge(local.environment, lookup(local.values, each.key, {}))
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = lookup(local.secrets, each.key, {})
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      # Billed only while a request runs.
      resources {
        limits            = { cpu = each.value.cpu, memory = each.value.memory }
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

      liveness_probe {
        period_seconds    = 60
        timeout_seconds   = 30
        failure_threshold = 5
        http_get {
          path = "/health"
        }
      }
    }
  }

  depends_on = [
    google_project_service.used,
    google_storage_bucket_iam_member.function,
    google_pubsub_topic_iam_member.function_publishes,
    google_secret_manager_secret_iam_member.function,
  ]
}
