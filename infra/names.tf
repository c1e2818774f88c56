# The names and limits of functions/defacer/pipeline/topology.py, which the emulator uses too.
# tests/infra/test_topology.py compares the two.
locals {
  topics = ["uploads", "segments", "segments-done", "dead-letters", "lost-letters", "job-events"]

  # The services that exist only if their variable is set. All others always exist.
  optional = { webhook = var.webhook != null, console = var.console != null, live = var.live != null }

  # Keyed by the name of the Cloud Run service and its push subscription. The deadline also limits how long Pub/Sub waits
  # for a response. "worker" allows the maximum of deliveries, because each "no instance is free" uses up one.
  every_function = {
    ingest = {
      topic                 = "uploads"
      ack_deadline_seconds  = 600
      concurrency           = 4
      max_delivery_attempts = 10
      dead_letter_topic     = "dead-letters"
    }
    worker = {
      topic                 = "segments"
      ack_deadline_seconds  = 600
      concurrency           = 1
      max_delivery_attempts = 100
      dead_letter_topic     = "dead-letters"
    }
    merge = {
      topic                 = "segments-done"
      ack_deadline_seconds  = 600
      concurrency           = 4
      max_delivery_attempts = 20
      dead_letter_topic     = "dead-letters"
    }
    dead-letter = {
      topic                 = "dead-letters"
      ack_deadline_seconds  = 60
      concurrency           = 4
      max_delivery_attempts = 100
      dead_letter_topic     = "lost-letters"
    }
    webhook = {
      topic                 = "job-events"
      ack_deadline_seconds  = 60
      concurrency           = 4
      max_delivery_attempts = 100
      dead_letter_topic     = "dead-letters"
    }
  }
  functions = { for name, function in local.every_function : name => function if lookup(local.optional, name, true) }

  # Filters select the messages that a function receives. The webhook does not report planned jobs.
  filters = { webhook = "attributes.type = \"job.completed\" OR attributes.type = \"job.failed\" OR attributes.type = \"job.waiting\"" }

  # The clock's message to ingest, which ends the waits for a person whose time is over.
  review_clock = { schedule = "*/15 * * * *", topic = "uploads", type = "review-check" }

  # Messages that dead-letter exhausted too stay here for an operator.
  keeper = { name = "lost-letters", topic = "lost-letters" }

  retries = { minimum_seconds = 10, maximum_seconds = 600 }

  buckets = {
    intake = "${var.project}-intake"
    work   = "${var.project}-work"
    output = "${var.project}-output"
  }

  environment = {
    DEFACER_PROJECT             = var.project
    DEFACER_INTAKE_BUCKET       = local.buckets.intake
    DEFACER_WORK_BUCKET         = local.buckets.work
    DEFACER_OUTPUT_BUCKET       = local.buckets.output
    DEFACER_UPLOADS_TOPIC       = "uploads"
    DEFACER_SEGMENTS_TOPIC      = "segments"
    DEFACER_SEGMENTS_DONE_TOPIC = "segments-done"
    DEFACER_JOB_EVENTS_TOPIC    = "job-events"
    # One channel keeps all workers busy, and the clip of another one waits for few segments.
    DEFACER_CHANNEL_SEGMENTS = tostring(2 * local.worker_instances)
  }
}
