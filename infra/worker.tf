locals {
  gpu = var.worker == "gpu"

  # With a GPU, the minimum that Cloud Run accepts with an L4. Without a GPU, the measured machine: two cores, and 2.5 GB
  # at 6144x3456. Four cores cost twice as much per second and are less than twice as fast. Files count as memory: a
  # segment has about 10 MB. The GPU worker's limit, 8192x4608, needs 4.2 GB. ingest rejects it where workers have less.
  workers = {
    gpu = { cpu = "4", memory = "16Gi", instances = 3, max_pixels = 8192 * 4608 }
    cpu = { cpu = "2", memory = "4Gi", instances = 10, max_pixels = 6144 * 3456 }
  }
  worker = local.workers[var.worker]

  # deploy.sh compares these two before it builds the images.
  worker_instances = coalesce(var.worker_max_instances, local.worker.instances)
  gpu_quota        = var.gpu_zonal_redundancy ? "NvidiaL4GpuAllocPerProjectRegion" : "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion"

  # USD per billed second in us-central1, for the dashboard. CAPACITY.md lists the prices.
  worker_prices = { cpu = 0.000058, gpu = 0.0002907, gpu_with_redundancy = 0.0003949 }
  worker_price  = local.worker_prices[!local.gpu ? "cpu" : var.gpu_zonal_redundancy ? "gpu_with_redundancy" : "gpu"]
}

resource "google_cloud_run_v2_service" "worker" {
  name                = "worker"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = false

  template {
    service_account = google_service_account.function["worker"].email

    # The order of the deadlines: first the worker's DEFACER_DEADLINE_SECONDS (540), then Cloud Run's, then Pub/Sub's.
    timeout                          = "${local.functions.worker.ack_deadline_seconds - 10}s"
    max_instance_request_concurrency = local.functions.worker.concurrency
    # The first generation emulates Linux system calls. The second is faster at the same price:
    # https://docs.cloud.google.com/run/docs/configuring/execution-environments
    execution_environment         = "EXECUTION_ENVIRONMENT_GEN2"
    gpu_zonal_redundancy_disabled = local.gpu ? !var.gpu_zonal_redundancy : null

    scaling {
      min_instance_count = 0
      max_instance_count = local.worker_instances
    }

    dynamic "node_selector" {
      for_each = local.gpu ? ["nvidia-l4"] : []
      content {
        accelerator = node_selector.value
      }
    }

    containers {
      image = "${local.registry}/${var.worker}:${var.tag}"
      # More threads than requests: for probes, and for a timed-out request that is still running.
      args = ["--threads=4", "defacer.serve:application('worker')"]

      dynamic "env" {
        for_each = merge(local.environment, {
          DEFACER_PRELOAD_MODELS = "true"
          DEFACER_REQUIRE_GPU    = tostring(local.gpu)
        })
        content {
          name  = env.key
          value = env.value
        }
      }

      # With an L4, the instance is billed for its whole life. Without, only while a request runs.
      resources {
        limits            = merge({ cpu = local.worker.cpu, memory = local.worker.memory }, local.gpu ? { "nvidia.com/gpu" = "1" } : {})
        cpu_idle          = !local.gpu
        startup_cpu_boost = true
      }

      # The probe succeeds once the models are loaded and have run once. Cloud Run allows 240 s in total.
      startup_probe {
        period_seconds    = 10
        timeout_seconds   = 10
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
  ]
}
