# The console (functions/console): where var.console names somebody, for them alone. Without it there is no such service.
locals {
  # By this name, to have none of each where there is no console.
  consoles = var.console == null ? {} : { console = var.console }

  console_origins = [
    "https://console-${data.google_project.this.number}.${var.region}.run.app",
    "http://localhost:8080", # gcloud run services proxy
  ]

  # It takes videos, pictures, policies and requests in, and reads what has become of them.
  console_roles = {
    intake = "roles/storage.objectUser"
    work   = "roles/storage.objectViewer"
    output = "roles/storage.objectViewer"
  }
}

resource "google_service_account" "console" {
  for_each     = local.consoles
  account_id   = "defacer-${each.key}"
  display_name = "De-facer: ${each.key}"
  depends_on   = [google_project_service.used]
}

resource "google_storage_bucket_iam_member" "console" {
  for_each = var.console == null ? {} : local.console_roles
  bucket   = local.bucket_names[each.key]
  role     = each.value
  member   = google_service_account.console["console"].member
}

# Addresses of media that end are signed by the account itself: there is no key.
resource "google_project_iam_custom_role" "signer" {
  for_each    = local.consoles
  role_id     = "defacerSigner"
  title       = "De-facer: signs addresses of media"
  permissions = ["iam.serviceAccounts.signBlob"]
  depends_on  = [google_project_service.used]
}

resource "google_service_account_iam_member" "console_signs" {
  for_each           = local.consoles
  service_account_id = google_service_account.console[each.key].name
  role               = google_project_iam_custom_role.signer[each.key].id
  member             = google_service_account.console[each.key].member
}

resource "google_cloud_run_v2_service" "console" {
  for_each            = local.consoles
  name                = each.key
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL" # of those that may call it: see below
  deletion_protection = false

  template {
    service_account                  = google_service_account.console[each.key].email
    timeout                          = "900s" # lists of jobs stay open
    max_instance_request_concurrency = 60

    scaling {
      min_instance_count = 0
      max_instance_count = 2
    }

    containers {
      image   = "${local.registry}/cpu:${var.tag}"
      command = ["python", "-m", "functions.console"]
      args    = ["--host=0.0.0.0", "--port=8080", "--behind-proxy"]

      dynamic "env" {
        for_each = merge(
          local.environment,
          { DEFACER_CONSOLE_SIGNER = google_service_account.console[each.key].email },
          each.value.iap_audience == null ? {} : { DEFACER_CONSOLE_IAP_AUDIENCE = each.value.iap_audience },
        )
        content {
          name  = env.key
          value = env.value
        }
      }

      resources {
        limits            = { cpu = "2", memory = "4Gi" }
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

  depends_on = [
    google_project_service.used,
    google_storage_bucket_iam_member.console,
    google_service_account_iam_member.console_signs,
  ]
}

# Who may open it: those that are named, and nobody as long as nobody is. `gcloud run services proxy console` opens it
# in a browser. Where Identity-Aware Proxy stands before it (infra/README.md), its agent is who is named.
resource "google_cloud_run_v2_service_iam_member" "console_opened_by" {
  for_each = toset(var.console == null ? [] : var.console.members)
  name     = google_cloud_run_v2_service.console["console"].name
  location = google_cloud_run_v2_service.console["console"].location
  role     = "roles/run.invoker"
  member   = each.key
}
