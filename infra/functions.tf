locals {
  urls = { for name, service in google_cloud_run_v2_service.function : name => service.uri }

  # The image's stage (infra/Dockerfile), resources and instance limit of each function. worker.tf has the worker's values.
  # A service has 24 start periods to answer its probe, and Cloud Run allows 240 s: the worker first runs its models once.
  # merge can link four videos of DEFACER_MAX_DETECTIONS (3,000,000, 0.4 kB each) at a time.
  every_size = {
    ingest      = { stage = "cpu", cpu = "2", memory = "4Gi", max_instances = 10, start_period = 5 }
    worker      = { stage = var.worker, cpu = local.worker.cpu, memory = local.worker.memory, max_instances = local.worker_instances, start_period = 10 }
    merge       = { stage = "base", cpu = "2", memory = "8Gi", max_instances = 20, start_period = 5 }
    dead-letter = { stage = "base", cpu = "1", memory = "1Gi", max_instances = 2, start_period = 5 }
    webhook     = { stage = "base", cpu = "1", memory = "512Mi", max_instances = 2, start_period = 5 }
  }
  sizes = { for name, size in local.every_size : name => size if lookup(local.optional, name, true) }

  # Environment variables of single functions in addition to local.environment: values, and secrets in Secret Manager.
  values = {
    ingest = {
      DEFACER_MAX_FRAME_PIXELS     = tostring(local.worker.max_pixels)
      DEFACER_MAX_CHANNEL_MINUTES  = tostring(var.limits.channel_minutes)
      DEFACER_MAX_CHANNEL_JOBS     = tostring(var.limits.channel_jobs)
      DEFACER_MAX_VIDEO_MEGAPIXELS = tostring(var.limits.video_megapixels)
    }
    worker  = { DEFACER_PRELOAD_MODELS = "true", DEFACER_REQUIRE_GPU = tostring(local.gpu) }
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
    service_account = google_service_account.function[each.key].email

    # The order of the deadlines: first the worker's DEFACER_DEADLINE_SECONDS (540), then Cloud Run's, then Pub/Sub's.
    timeout                          = "${local.functions[each.key].ack_deadline_seconds - 10}s"
    max_instance_request_concurrency = local.functions[each.key].concurrency
    # The first generation emulates Linux system calls. The second is faster at the same price:
    # https://docs.cloud.google.com/run/docs/configuring/execution-environments
    execution_environment         = each.key == "worker" ? "EXECUTION_ENVIRONMENT_GEN2" : null
    gpu_zonal_redundancy_disabled = each.value.stage == "gpu" ? !var.gpu_zonal_redundancy : null

    scaling {
      min_instance_count = 0
      max_instance_count = each.value.max_instances
    }

    dynamic "node_selector" {
      for_each = each.value.stage == "gpu" ? ["nvidia-l4"] : []
      content {
        accelerator = node_selector.value
      }
    }

    containers {
      image = "${local.registry}/${each.value.stage}:${var.tag}"
      args = [
        # More threads than requests: for probes, and for a timed-out request that is still running.
        "--threads=${max(4, local.functions[each.key].concurrency + 2)}",
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

      # With an L4, the instance is billed for its whole life. Without, only while a request runs.
      resources {
        limits            = merge({ cpu = each.value.cpu, memory = each.value.memory }, each.value.stage == "gpu" ? { "nvidia.com/gpu" = "1" } : {})
        cpu_idle          = each.value.stage != "gpu"
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = each.value.start_period
        timeout_seconds   = each.value.start_period
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
