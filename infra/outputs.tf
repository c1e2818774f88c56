output "drop_into" {
  description = "The folder to upload a channel's videos to. CHANNEL is any name."
  value       = "gs://${google_storage_bucket.intake.name}/channels/CHANNEL/videos/"
}

output "results" {
  description = "The folder of a channel's results and reports."
  value       = "gs://${google_storage_bucket.output.name}/channels/CHANNEL/"
}

output "work" {
  description = "The folder of all jobs. ID/failed.json contains the cause of a failure."
  value       = "gs://${google_storage_bucket.work.name}/jobs/"
}

output "registry" {
  description = "The registry of the images."
  value       = local.registry
}

output "worker" {
  description = "The worker's hardware. The next deployment uses the same unless you set WORKER."
  value       = var.worker
}

output "builds" {
  description = "The staging bucket for a build's source."
  value       = google_storage_bucket.builds.url
}

output "builder" {
  description = "The account that Cloud Build runs as."
  value       = google_service_account.builder.id
}

output "dashboard" {
  description = "The dashboard in Cloud Monitoring."
  value       = google_monitoring_dashboard.operations.id
}

output "live" {
  description = "The address of the live page, for the members in var.live."
  value       = var.live == null ? null : local.live_origins[0]
}

output "console" {
  description = "The address of the console, for the members in var.console. Uploads are accepted from this origin."
  value       = var.console == null ? null : local.console_origins[0]
}
