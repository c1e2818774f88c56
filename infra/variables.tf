variable "project" {
  description = "The Google Cloud project that everything is made in. It should hold nothing else."
  type        = string
}

variable "region" {
  description = "Where everything runs and lies. With worker = \"gpu\" it must have L4 GPUs for Cloud Run: see infra/README.md."
  type        = string
}

variable "tag" {
  description = "The tag of the images to run. deploy.sh takes the commit that it built."
  type        = string
}

variable "worker" {
  description = "What the worker runs on: \"gpu\" (an NVIDIA L4) or \"cpu\", for a project without GPU quota."
  type        = string
  default     = "gpu"

  validation {
    condition     = contains(["gpu", "cpu"], var.worker)
    error_message = "worker must be \"gpu\" or \"cpu\"."
  }
}

variable "worker_max_instances" {
  description = "Workers at a time. With a GPU not above the project's quota; a first deployment is granted 3. null: 3 with a GPU, 10 without."
  type        = number
  default     = null
}

variable "gpu_zonal_redundancy" {
  description = "Whether GPUs are reserved in a second zone too: dearer by half, and a quota of its own."
  type        = bool
  default     = false
}

variable "keep_work_days" {
  description = "After how many days a job's manifest, faces and marks are deleted from the work bucket."
  type        = number
  default     = 60

  validation {
    condition     = var.keep_work_days >= 56
    error_message = "keep_work_days must be 56 or more: a segment's message starts anew up to 3 times, each of its 4 lives is 7 days in Pub/Sub and 7 days as a dead letter at most, and the marks tell it that its job is over."
  }
}

variable "keep_sources_days" {
  description = "After how many days an uploaded video is deleted; null: never (a channel's policy.json may delete it when it is done)."
  type        = number
  default     = null
}

variable "keep_replaced_results_days" {
  description = "For how many days a result stays restorable after a newer upload's has replaced it or somebody deleted it; 0: not at all."
  type        = number
  default     = 0
}

variable "kms_key_name" {
  description = "A Cloud KMS key (projects/P/locations/REGION/keyRings/R/cryptoKeys/K) for buckets, topics and images, before anything is there; null: Google's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/${var.region}/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be projects/P/locations/REGION/keyRings/R/cryptoKeys/K with the region that everything else is in: buckets take no key from elsewhere."
  }
}

variable "alerts" {
  description = "Whether there are alerts. Google bills their conditions, of which there are four."
  type        = bool
  default     = true
}

variable "alert_email" {
  description = "Who is told of alerts; null: alerts show in the console only."
  type        = string
  default     = null
}

variable "billing_account" {
  description = "The billing account to put a budget on (needs roles/billing.costsManager there); null: no budget."
  type        = string
  default     = null
}

variable "monthly_budget" {
  description = "The budget of a month, whole units of the billing account's currency."
  type        = number
  default     = 100
}

variable "webhook" {
  description = "Who is told of each job's end: an https address, and the name of the secret in Secret Manager that signs the calls (32 characters or more); null: nobody."
  type        = object({ url = string, secret_name = string })
  default     = null
}

variable "console" {
  description = "The console and who may open it (\"user:ada@example.com\", \"group:...\"), the audience of Identity-Aware Proxy's tokens where that stands before it, and addresses of one's own that lead to it (\"https://console.example.com\"); null: there is none."
  type        = object({ members = optional(list(string), []), iap_audience = optional(string), origins = optional(list(string), []) })
  default     = null

  validation {
    condition     = var.console == null || alltrue([for member in try(var.console.members, []) : can(regex("^(user|group|domain|serviceAccount):", member))])
    error_message = "console.members must each be user:, group:, domain: or serviceAccount: and an address. It shows sources, so it is never open to everybody."
  }

  validation {
    condition     = var.console == null || alltrue([for origin in try(var.console.origins, []) : can(regex("^https://[a-z0-9.-]+(:[0-9]+)?$", origin))])
    error_message = "console.origins must each be https:// and a host, without a path or a slash at the end, as browsers write an origin."
  }
}

variable "live" {
  description = "The live page and who may open it (\"user:ada@example.com\", \"group:...\"), the hosts of cameras that it reads (none: any public one), and how many instances there are at most; null: there is none."
  type        = object({ members = optional(list(string), []), hosts = optional(list(string), []), max_instances = optional(number, 1) })
  default     = null

  validation {
    condition     = var.live == null || alltrue([for member in try(var.live.members, []) : can(regex("^(user|group|domain|serviceAccount):", member))])
    error_message = "live.members must each be user:, group:, domain: or serviceAccount: and an address. It reads cameras, so it is never open to everybody."
  }
}
