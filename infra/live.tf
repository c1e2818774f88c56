# The live page (functions/live): where var.live names somebody, for them alone. Without it there is no such service.
locals {
  # By this name, to have none of each where there is no live page.
  lives = var.live == null ? {} : { live = var.live }
}

resource "google_service_account" "live" {
  for_each     = local.lives
  account_id   = "defacer-${each.key}"
  display_name = "De-facer: ${each.key}"
  depends_on   = [google_project_service.used]
}

# Policies and pictures of targets: it reads them, and nothing else.
resource "google_storage_bucket_iam_member" "live" {
  for_each = local.lives
  bucket   = google_storage_bucket.intake.name
  role     = "roles/storage.objectViewer"
  member   = google_service_account.live[each.key].member
}

resource "google_cloud_run_v2_service" "live" {
  for_each            = local.lives
  name                = each.key
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL" # of those that may call it: see below
  deletion_protection = false

  template {
    service_account                  = google_service_account.live[each.key].email
    timeout                          = "3600s" # the longest there is: a stream is one request
    max_instance_request_concurrency = 40      # two streams, what they show to eight each, and pages
    # A stream is in one instance: who watches must come to the same.
    session_affinity = true

    scaling {
      min_instance_count = 0
      max_instance_count = each.value.max_instances
    }

    containers {
      image   = "${local.registry}/cpu:${var.tag}"
      command = ["python", "-m", "functions.live"]
      args    = ["--host=0.0.0.0", "--port=8080", "--behind-proxy"]

      dynamic "env" {
        for_each = merge(local.environment, {
          DEFACER_LIVE_STREAMS = "2"
          DEFACER_LIVE_VIEWERS = "8"
          DEFACER_LIVE_HOSTS   = join(",", each.value.hosts)
        })
        content {
          name  = env.key
          value = env.value
        }
      }

      # Two cores for each stream. An address is read by threads of no request, but only as long as somebody watches it.
      resources {
        limits            = { cpu = "4", memory = "4Gi" }
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

  depends_on = [google_project_service.used, google_storage_bucket_iam_member.live]
}

# Who may open it: those that are named, and nobody as long as nobody is. `gcloud run services proxy live` opens it in a
# browser, and gives OBS on the same machine an address that it can open.
resource "google_cloud_run_v2_service_iam_member" "live_opened_by" {
  for_each = toset(var.live == null ? [] : var.live.members)
  name     = google_cloud_run_v2_service.live["live"].name
  location = google_cloud_run_v2_service.live["live"].location
  role     = "roles/run.invoker"
  member   = each.key
}
