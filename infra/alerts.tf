# Each alert has a section in infra/RUNBOOK.md, which its message names.

resource "google_monitoring_notification_channel" "email" {
  count        = var.alert_email == null ? 0 : 1
  display_name = "De-facer"
  type         = "email"
  labels       = { email_address = var.alert_email }
  depends_on   = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "dead_letters" {
  count                 = var.alerts ? 1 : 0
  display_name          = "De-facer: a message exhausted its deliveries"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "a message became a dead letter"
    condition_threshold {
      filter          = "resource.type=\"pubsub_subscription\" AND metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\" AND resource.labels.subscription_id=monitoring.regex.full_match(\"${join("|", [for name, function in local.functions : name if function.dead_letter_topic == "dead-letters"])}\")"
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.subscription_id"]
      }
    }
  }

  documentation {
    subject = "De-facer: a message exhausted its deliveries"
    content = "A message used up its deliveries. Its job has failed, or the webhook did not report the job's end. See infra/RUNBOOK.md, \"A message exhausted its deliveries\"."
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "lost_letters" {
  count                 = var.alerts ? 1 : 0
  display_name          = "De-facer: a dead letter was lost"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = "dead-letter exhausted a message too"
    condition_threshold {
      filter          = "resource.type=\"pubsub_subscription\" AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.labels.subscription_id=\"${local.keeper.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    subject = "De-facer: a dead letter was lost"
    content = "A job might never end, not even as failed. See infra/RUNBOOK.md, \"A dead letter was lost\"."
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "oldest_message" {
  count                 = var.alerts ? 1 : 0
  display_name          = "De-facer: a message waits for more than 15 minutes"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "oldest unacknowledged message above 15 minutes"
    condition_threshold {
      filter          = "resource.type=\"pubsub_subscription\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.labels.subscription_id=monitoring.regex.full_match(\"${join("|", keys(local.functions))}\")"
      comparison      = "COMPARISON_GT"
      threshold_value = 900
      duration        = "0s"
      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_MAX"
        group_by_fields      = ["resource.labels.subscription_id"]
      }
    }
  }

  documentation {
    subject = "De-facer: a message waits for more than 15 minutes"
    content = "Work arrives faster than it is processed, or processing has stopped. See infra/RUNBOOK.md, \"A message waits\"."
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "failed_jobs" {
  count                 = var.alerts ? 1 : 0
  display_name          = "De-facer: more than a tenth of the jobs fail"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "more than a tenth of the jobs that ended within an hour failed"
    condition_threshold {
      filter             = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.metric["jobs"].name}\" AND metric.labels.event=\"the job failed\""
      denominator_filter = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.metric["jobs"].name}\" AND metric.labels.event=monitoring.regex.full_match(\"the job failed|published\")"
      comparison         = "COMPARISON_GT"
      threshold_value    = 0.1
      duration           = "0s"
      aggregations {
        alignment_period     = "3600s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
      denominator_aggregations {
        alignment_period     = "3600s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    subject = "De-facer: more than a tenth of the jobs fail"
    content = "See infra/RUNBOOK.md, \"Jobs fail\"."
  }
}

# Notifies at 50 %, 90 % and 100 % of the month's budget, and when the forecast exceeds the budget.
resource "google_billing_budget" "month" {
  count           = var.billing_account == null ? 0 : 1
  billing_account = var.billing_account
  display_name    = "De-facer: ${var.project}"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  dynamic "all_updates_rule" {
    for_each = length(local.channels) > 0 ? [1] : []
    content {
      monitoring_notification_channels = local.channels
    }
  }

  depends_on = [google_project_service.used]
}
