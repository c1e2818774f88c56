output "drop_into" {
  description = "Where a channel's videos go: CHANNEL is any name."
  value       = "gs://${google_storage_bucket.intake.name}/channels/CHANNEL/videos/"
}

output "results" {
  description = "Where the results and reports come out."
  value       = "gs://${google_storage_bucket.output.name}/channels/CHANNEL/"
}

output "work" {
  description = "Where jobs/ID/failed.json says what went wrong."
  value       = "gs://${google_storage_bucket.work.name}/jobs/"
}

output "registry" {
  description = "Where the images are pushed."
  value       = local.registry
}

output "worker" {
  description = "What the worker runs on: the next deployment takes the same, if it is not told another."
  value       = var.worker
}

output "builds" {
  description = "Where the code of a build is put for Cloud Build."
  value       = google_storage_bucket.builds.url
}

output "builder" {
  description = "The account that Cloud Build runs as."
  value       = google_service_account.builder.id
}

output "dashboard" {
  description = "The dashboard, in the console's monitoring pages."
  value       = google_monitoring_dashboard.operations.id
}

output "live" {
  description = "Where the live page is, for those whom var.live names."
  value       = try(google_cloud_run_v2_service.page["live"].uri, null)
}

output "console" {
  description = "Where the console is, for those whom var.console names: one of the addresses that uploads are taken from."
  value       = var.console == null ? null : local.console_origins[0]
}
