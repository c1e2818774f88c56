# Metrics from the log lines of functions/defacer/pipeline/log.py, selected by message. tests/infra/test_observability.py
# checks that the code still writes each of these messages.

locals {
  channels = google_monitoring_notification_channel.email[*].id

  ours = "resource.type=\"cloud_run_revision\" AND jsonPayload.function=~\"^(${join("|", [for name in keys(local.every_function) : replace(name, "-", "_")])})$\""

  # Counters: one for each line. Labels are fields of the line.
  counted = {
    jobs = {
      description = "Jobs planned, published and failed"
      messages    = ["planned", "published", "the job failed"]
      labels      = { event = "message", stage = "stage", code = "code" }
    }
    segments = {
      description = "Completed segment steps, and split segments"
      messages    = ["segment detected", "segment redacted", "segment split"]
      labels      = { event = "message" }
    }
    troubles = {
      description = "Messages that were redelivered or dropped"
      messages = [
        "not done, the message will be redelivered",
        "unexpected error, the message will be redelivered",
        "internal error: this is a bug",
        "dropped a message that belongs to no job",
      ]
      labels = { event = "message", function = "function", error = "error" }
    }
  }

  # Distributions: a number of the line.
  measured = {
    video_seconds = {
      description = "Length of each published video"
      messages    = ["published"]
      field       = "video_seconds"
      labels      = {}
    }
    step_seconds = {
      description = "Seconds that a worker took for a segment step"
      messages    = ["segment detected", "segment redacted"]
      field       = "seconds"
      labels      = { step = "step" }
    }
    planned_segments = {
      description = "Segments of each planned job"
      messages    = ["planned"]
      field       = "segments"
      labels      = {}
    }
    linked_segments = {
      description = "Segment detections of each linked job, including those of subsegments"
      messages    = ["linked"]
      field       = "segments"
      labels      = {}
    }
    joined_segments = {
      description = "Redacted segments of each joined job, including subsegments"
      messages    = ["joined"]
      field       = "segments"
      labels      = {}
    }
  }
}

resource "google_logging_metric" "metric" {
  for_each    = merge(local.counted, local.measured)
  name        = "defacer/${each.key}"
  description = each.value.description
  filter      = "${local.ours} AND jsonPayload.message=(${join(" OR ", [for text in each.value.messages : jsonencode(text)])})"

  value_extractor  = try("EXTRACT(jsonPayload.${each.value.field})", null)
  label_extractors = { for label, field in each.value.labels : label => "EXTRACT(jsonPayload.${field})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = can(each.value.field) ? "DISTRIBUTION" : "INT64"

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key = labels.key
      }
    }
  }

  dynamic "bucket_options" {
    for_each = can(each.value.field) ? [1] : []
    content {
      exponential_buckets {
        num_finite_buckets = 40
        growth_factor      = 1.5
        scale              = 0.1
      }
    }
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_dashboard" "operations" {
  dashboard_json = templatefile("${path.module}/dashboard.json.tftpl", {
    worker_price_per_second = local.worker_price
  })

  depends_on = [google_logging_metric.metric]
}

# The reads and writes of objects by people and pages, as Cloud Audit Logs records them.
resource "google_project_iam_audit_config" "storage" {
  count   = var.audit_data_access ? 1 : 0
  project = var.project
  service = "storage.googleapis.com"

  dynamic "audit_log_config" {
    for_each = ["DATA_READ", "DATA_WRITE"]
    content {
      log_type = audit_log_config.value
      # The functions read each segment several times. Their lines would hide those of people.
      exempted_members = [for account in google_service_account.function : account.member]
    }
  }
}

# The requests for the URL for OBS, because that URL has the id of a stream. Cloud Run logs the URL of each request. All
# other URLs have no name, no id of a stream and no search text (tests/console/test_urls.py, tests/live/test_browser.py).
resource "google_logging_project_exclusion" "streams" {
  count       = var.live == null ? 0 : 1
  name        = "defacer-streams"
  description = "Requests whose URL has the id of a live stream"
  filter      = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"live\" AND httpRequest.requestUrl=~\"/mjpeg/\""
  depends_on  = [google_project_service.used]
}
