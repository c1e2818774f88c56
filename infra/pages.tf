# The web pages: the console (functions/defacer/web/console) and the live page (functions/defacer/web/live). Each exists
# only if its variable is set, and opens only for the members that the variable names.
locals {
  # The values that differ between the pages. The tables below leave out a page whose variable is not set.
  every_page = {
    console = {
      members       = distinct(concat(try(var.console.administrators, []), local.owners))
      timeout       = "900s" # the job list is a long request
      requests      = 60
      affinity      = false
      cpu           = "2"
      memory        = "4Gi"
      max_instances = 2
    }
    live = {
      members  = try(var.live.members, [])
      timeout  = "3600s" # the maximum, because a stream is one request
      requests = 40      # two streams, eight viewers of each, and pages
      affinity = true    # a stream runs in one instance, which all its viewers must reach
      # Two cores per stream. Background threads read an address, but only while a viewer is connected.
      cpu           = "4"
      memory        = "4Gi"
      max_instances = try(var.live.max_instances, 1)
    }
  }
  pages = { for name, page in local.every_page : name => page if local.optional[name] }

  # Environment variables of single pages in addition to local.environment and local.access. null omits the variable.
  page_values = {
    console = {
      DEFACER_CONSOLE_ORIGINS = join(",", local.console_origins)
      DEFACER_CONSOLE_SIGNER  = try(google_service_account.page["console"].email, null)
    }
    live = {
      DEFACER_LIVE_ORIGINS   = join(",", local.live_origins)
      DEFACER_PRELOAD_MODELS = "true"
      DEFACER_LIVE_STREAMS   = "2"
      DEFACER_LIVE_VIEWERS   = "8"
      DEFACER_LIVE_HOSTS     = join(",", try(var.live.hosts, []))
    }
  }

  # The users of the pages, and the channels that each can open. A page refuses requests without a token of Identity-Aware Proxy for its own audience
  # (https://cloud.google.com/iap/docs/signed-headers-howto).
  access = {
    for name in keys(local.pages) : name => {
      DEFACER_IAP_AUDIENCE   = "/projects/${data.google_project.this.number}/locations/${var.region}/services/${name}"
      DEFACER_CHANNEL_OWNERS = jsonencode({ for channel, members in var.channels : channel => members.owners })
      DEFACER_ADMINISTRATORS = jsonencode(try(var.console.administrators, []))
    }
  }

  # Custom roles, because Google's grant more: "roles/storage.objectUser" also changes metadata and restores objects.
  # Overwriting needs the delete permission: the console replaces policies, pictures and, on request, a video.
  page_permissions = {
    console_keeps = ["storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list"]
    # To erase a video and to forget a person. In the work bucket this role reads nothing: the console reads documents only.
    console_erases   = ["storage.objects.create", "storage.objects.delete", "storage.objects.list", "storage.objects.update"]
    console_replaces = ["storage.objects.create", "storage.objects.delete"]
  }

  # The role of each page in a bucket, either Google's or a custom one from above, and the suffix of the objects it covers.
  # The work bucket contains embeddings and segments as well as documents (functions/defacer/pipeline/storage/object_names.py).
  page_roles = {
    console = {
      keeps      = { bucket = "intake", ours = "console_keeps", role = null, suffix = null }
      erases     = { bucket = "work", ours = "console_erases", role = null, suffix = null }
      reads_jobs = { bucket = "work", ours = null, role = "roles/storage.objectViewer", suffix = ".json" }
      # Tracks of a job that waits for a person. They have boxes and distances, and no embedding.
      reads_faces = { bucket = "work", ours = null, role = "roles/storage.objectViewer", suffix = "/faces.jsonl" }
      replaces    = { bucket = "output", ours = "console_replaces", role = null, suffix = null }
      results     = { bucket = "output", ours = null, role = "roles/storage.objectViewer", suffix = null }
    }
    live = {
      reads = { bucket = "intake", ours = null, role = "roles/storage.objectViewer", suffix = null }
    }
  }
  page_grants = merge({}, [
    for name, grants in local.page_roles : {
      for label, grant in grants : "${name}/${label}" => merge(grant, { page = name }) if contains(keys(local.pages), name)
    }
  ]...)

  page_members = merge({}, [
    for name, page in local.pages : { for member in page.members : "${name}/${member}" => { page = name, member = member } }
  ]...)

  # The addresses of a page in a browser: your own, and that of Cloud Run. Its other address, in the attribute `uri`, is
  # unknown before the service exists, so a page refuses changes there and names the first of these.
  page_addresses  = { for name in keys(local.every_page) : name => "https://${name}-${data.google_project.this.number}.${var.region}.run.app" }
  console_origins = concat(try(var.console.origins, []), [local.page_addresses["console"]])
  live_origins    = concat(try(var.live.origins, []), [local.page_addresses["live"]])
}

resource "google_service_account" "page" {
  for_each     = local.pages
  account_id   = "defacer-${each.key}"
  display_name = "De-facer: ${each.key}"
  depends_on   = [google_project_service.used]
}

resource "google_project_iam_custom_role" "page" {
  for_each    = { for name, permissions in local.page_permissions : name => permissions if local.optional[split("_", name)[0]] }
  role_id     = "defacer_${each.key}"
  title       = "De-facer: ${replace(each.key, "_", " ")}"
  permissions = each.value
  depends_on  = [google_project_service.used]
}

resource "google_storage_bucket_iam_member" "page" {
  for_each = local.page_grants
  bucket   = local.bucket_names[each.value.bucket]
  role     = each.value.ours == null ? each.value.role : google_project_iam_custom_role.page[each.value.ours].id
  member   = google_service_account.page[each.value.page].member

  dynamic "condition" {
    for_each = each.value.suffix == null ? [] : [each.value.suffix]
    content {
      title      = "documents only"
      expression = "resource.name.endsWith(\"${condition.value}\")"
    }
  }
}

# Forgetting a person fails the running jobs that would show the person. Each failure is announced, and the next upload of
# the channel is called.
resource "google_pubsub_topic_iam_member" "console_announces" {
  for_each = contains(keys(local.pages), "console") ? toset(["job-events", "uploads"]) : toset([])
  topic    = google_pubsub_topic.topic[each.key].id
  role     = "roles/pubsub.publisher"
  member   = google_service_account.page["console"].member
}

# The console's account itself signs the temporary URLs of media, so that no key file exists.
resource "google_project_iam_custom_role" "signer" {
  for_each    = setintersection(keys(local.pages), ["console"])
  role_id     = "defacerSigner"
  title       = "De-facer: signs URLs of media"
  permissions = ["iam.serviceAccounts.signBlob"]
  depends_on  = [google_project_service.used]
}

resource "google_service_account_iam_member" "console_signs" {
  for_each           = google_project_iam_custom_role.signer
  service_account_id = google_service_account.page[each.key].name
  role               = each.value.id
  member             = google_service_account.page[each.key].member
}

resource "google_cloud_run_v2_service" "page" {
  for_each            = local.pages
  name                = each.key
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  iap_enabled         = true # on all addresses of the service
  deletion_protection = false

  template {
    service_account                  = google_service_account.page[each.key].email
    timeout                          = each.value.timeout
    max_instance_request_concurrency = each.value.requests
    session_affinity                 = each.value.affinity

    scaling {
      min_instance_count = 0
      max_instance_count = each.value.max_instances
    }

    containers {
      image   = "${local.registry}/cpu:${var.tag}"
      command = ["python", "-m", "defacer.web.${each.key}"]
      args    = ["--host=0.0.0.0", "--port=8080", "--behind-proxy"]

      dynamic "env" {
        for_each = merge(local.environment, local.access[each.key], { for name, value in local.page_values[each.key] : name => value if value != null })
        content {
          name  = env.key
          value = env.value
        }
      }

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
    google_storage_bucket_iam_member.page,
    google_service_account_iam_member.console_signs,
  ]
}

# Identity-Aware Proxy lets only these members through. A page that it does not protect answers 403 (local.access).
resource "google_iap_web_cloud_run_service_iam_member" "page" {
  for_each               = local.page_members
  location               = google_cloud_run_v2_service.page[each.value.page].location
  cloud_run_service_name = google_cloud_run_v2_service.page[each.value.page].name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value.member
}

# Only the proxy calls a page.
resource "google_cloud_run_v2_service_iam_member" "page_invoker" {
  for_each = google_cloud_run_v2_service.page
  name     = each.value.name
  location = each.value.location
  role     = "roles/run.invoker"
  member   = local.iap_agent
}
