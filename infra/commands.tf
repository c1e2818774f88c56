# The commands of `defacer` as a Cloud Run job, such as `job erase` and `person forget`. An operator stores a command line
# in an object and names the object as the job's argument (functions/defacer/commands/jobs/README.md).
resource "google_service_account" "commands" {
  account_id   = "defacer-commands"
  display_name = "De-facer: commands of an operator"
  depends_on   = [google_project_service.used]
}

# Commands read reports, write re-render requests, and delete objects in each of these buckets.
resource "google_storage_bucket_iam_member" "commands" {
  for_each = local.bucket_names
  bucket   = each.value
  role     = "roles/storage.objectUser"
  member   = google_service_account.commands.member
}

# Forgetting a person fails the running jobs that would show the person. Each failure is announced, and the next upload of
# the channel is called.
resource "google_pubsub_topic_iam_member" "commands_announce" {
  for_each = toset(["job-events", "uploads"])
  topic    = google_pubsub_topic.topic[each.key].id
  role     = "roles/pubsub.publisher"
  member   = google_service_account.commands.member
}

resource "google_cloud_run_v2_job" "commands" {
  name                = "commands"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.commands.email
      max_retries     = 0 # an operator reads the output first
      timeout         = "86400s"

      # The cpu image: a re-rendered video is checked by a detector before it replaces the old one.
      containers {
        image   = "${local.registry}/cpu:${var.tag}"
        command = ["python", "-m", "defacer.commands.stored_command"]

        dynamic "env" {
          for_each = local.environment
          content {
            name  = env.key
            value = env.value
          }
        }

        # A re-rendered video is in memory, as all files of a container are.
        resources {
          limits = { cpu = "4", memory = "16Gi" }
        }
      }
    }
  }

  depends_on = [
    google_project_service.used,
    google_storage_bucket_iam_member.commands,
    google_pubsub_topic_iam_member.commands_announce,
  ]
}
