# Service accounts: one per function with only the permissions that its code needs, one that pushes messages, and one that
# builds the images.

locals {
  # objectUser reads, writes, lists and deletes. Overwriting a lease and deleting embeddings need the delete permission.
  # dead-letter finishes a job that is partly published, as merge does. ingest reads the report of a video to re-render.
  bucket_roles = {
    ingest      = { intake = "roles/storage.objectViewer", work = "roles/storage.objectUser", output = "roles/storage.objectViewer" }
    worker      = { intake = "roles/storage.objectViewer", work = "roles/storage.objectUser" }
    merge       = { intake = "roles/storage.objectViewer", work = "roles/storage.objectUser", output = "roles/storage.objectUser" }
    dead-letter = { intake = "roles/storage.objectViewer", work = "roles/storage.objectUser", output = "roles/storage.objectUser" }
  }

  # These functions delete a published job's source, if the channel's policy requires it.
  source_removers = ["merge", "dead-letter"]

  publishes = {
    ingest      = ["uploads", "segments", "job-events"]
    worker      = ["uploads", "segments", "segments-done", "job-events"]
    merge       = ["uploads", "segments", "job-events"]
    dead-letter = ["uploads", "segments", "segments-done", "job-events"]
  }

  bucket_grants = merge([
    for name, roles in local.bucket_roles : {
      for bucket, role in roles : "${name}/${bucket}" => { name = name, bucket = bucket, role = role }
      if contains(keys(local.functions), name)
    }
  ]...)

  topic_grants = merge([
    for name, topics in local.publishes : {
      for topic in topics : "${name}/${topic}" => { name = name, topic = topic }
      if contains(keys(local.functions), name)
    }
  ]...)

  secret_grants = merge([
    for name, secrets in local.secrets : {
      for variable, secret in secrets : "${name}/${variable}" => { name = name, secret = secret }
      if contains(keys(local.functions), name)
    }
  ]...)

  bucket_names = {
    intake = google_storage_bucket.intake.name
    work   = google_storage_bucket.work.name
    output = google_storage_bucket.output.name
  }

  pubsub_agent  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  storage_agent = "serviceAccount:${data.google_storage_project_service_account.agent.email_address}"
  iap_agent     = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-iap.iam.gserviceaccount.com"
  images_agent  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
}

resource "google_service_account" "function" {
  for_each     = local.functions
  account_id   = "defacer-${each.key}"
  display_name = "De-facer: ${each.key}"
  depends_on   = [google_project_service.used]
}

resource "google_storage_bucket_iam_member" "function" {
  for_each = local.bucket_grants
  bucket   = local.bucket_names[each.value.bucket]
  role     = each.value.role
  member   = google_service_account.function[each.value.name].member
}

resource "google_pubsub_topic_iam_member" "function_publishes" {
  for_each = local.topic_grants
  topic    = google_pubsub_topic.topic[each.value.topic].id
  role     = "roles/pubsub.publisher"
  member   = google_service_account.function[each.value.name].member
}

# An operator creates and fills each secret (DEPLOYMENT.md), so that its value is in no file and in no Terraform state.
resource "google_secret_manager_secret_iam_member" "function" {
  for_each  = local.secret_grants
  secret_id = each.value.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.value.name].member

  depends_on = [google_project_service.used]
}

# In the intake bucket these functions are allowed to read and delete, and nothing else.
resource "google_project_iam_custom_role" "source_remover" {
  role_id     = "defacerSourceRemover"
  title       = "De-facer: deletes sources"
  permissions = ["storage.objects.delete"]
  depends_on  = [google_project_service.used]
}

resource "google_storage_bucket_iam_member" "source_remover" {
  for_each = toset(local.source_removers)
  bucket   = google_storage_bucket.intake.name
  role     = google_project_iam_custom_role.source_remover.id
  member   = google_service_account.function[each.key].member
}

# The identity that Pub/Sub uses to call a function.
resource "google_service_account" "pusher" {
  account_id   = "defacer-pusher"
  display_name = "De-facer: calls the functions for Pub/Sub"
  depends_on   = [google_project_service.used]
}

resource "google_cloud_run_v2_service_iam_member" "function_invoker" {
  for_each = google_cloud_run_v2_service.function
  name     = each.value.name
  location = each.value.location
  role     = "roles/run.invoker"
  member   = google_service_account.pusher.member
}

# Google's service agents: Storage publishes uploads, and Pub/Sub moves dead letters.
data "google_storage_project_service_account" "agent" {
  depends_on = [google_project_service.used]
}

resource "google_pubsub_topic_iam_member" "storage_publishes" {
  topic  = google_pubsub_topic.topic["uploads"].id
  role   = "roles/pubsub.publisher"
  member = local.storage_agent
}

resource "google_pubsub_topic_iam_member" "dead_letter_publisher" {
  for_each = toset([for name, function in local.functions : function.dead_letter_topic])
  topic    = google_pubsub_topic.topic[each.key].id
  role     = "roles/pubsub.publisher"
  member   = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letter_subscriber" {
  for_each     = google_pubsub_subscription.push
  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

# Resources encrypted with a customer-managed key depend on these grants. deploy.sh creates the agents first.
resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = var.kms_key_name == null ? {} : {
    storage = local.storage_agent
    pubsub  = local.pubsub_agent
    images  = local.images_agent
  }
  crypto_key_id = var.kms_key_name
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
  depends_on    = [google_project_service.used]
}

# Cloud Build runs as this account, which reads the staged source, pushes images and writes logs. Google's own role for
# it (cloudbuild.builds.builder) can read every bucket of the project, and so the videos.
resource "google_service_account" "builder" {
  account_id   = "defacer-builder"
  display_name = "De-facer: builds the images"
  depends_on   = [google_project_service.used]
}

resource "google_storage_bucket_iam_member" "builder" {
  bucket = google_storage_bucket.builds.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.builder.member
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.builder.member
}

resource "google_project_iam_member" "builder" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.builder.member
}
