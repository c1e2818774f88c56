variable "project" {
  description = "The Google Cloud project for all resources. Use a project that contains nothing else."
  type        = string
}

variable "region" {
  description = "The region of all services and buckets. With worker = \"gpu\" it must have L4 GPUs for Cloud Run: see infra/DEPLOYMENT.md."
  type        = string
}

variable "tag" {
  description = "The tag of the images to run. deploy.sh uses a hash of the files in the images."
  type        = string
}

variable "worker" {
  description = "The worker's hardware, which make deploy sets from WORKER: \"cpu\", or \"gpu\" (an NVIDIA L4). See infra/DEPLOYMENT.md."
  type        = string
  default     = "cpu"

  validation {
    condition     = contains(["cpu", "gpu"], var.worker)
    error_message = "worker must be \"cpu\" or \"gpu\". Correct WORKER."
  }
}

variable "worker_max_instances" {
  description = "The maximum number of worker instances. With a GPU, at most the project's quota: Google grants 3 to a first deployment. null: 10, or 3 with a GPU."
  type        = number
  default     = null

  validation {
    condition     = contains(range(1, 1001), coalesce(var.worker_max_instances, 1))
    error_message = "worker_max_instances must be a whole number from 1 to 1000. Cloud Run would replace 0 by its own maximum."
  }
}

variable "limits" {
  description = "The limits of each channel: minutes of video a day, and videos that are processed or wait. And the pixels of all frames of a video, in millions."
  type = object({
    channel_minutes  = optional(number, 6000)
    channel_jobs     = optional(number, 1000)
    video_megapixels = optional(number, 10000000)
  })
  default = {}

  validation {
    condition     = alltrue([for limit in values(var.limits) : limit >= 1 && floor(limit) == limit])
    error_message = "The limits must be whole numbers of at least 1."
  }

  validation {
    condition     = var.limits.channel_jobs <= 100000 && var.limits.channel_minutes <= 10000000
    error_message = "limits.channel_jobs must be 100,000 or less, and limits.channel_minutes 10,000,000 or less. ingest accepts no more."
  }
}

variable "gpu_zonal_redundancy" {
  description = "Whether GPUs are also reserved in a second zone, which costs half as much again and has a separate quota."
  type        = bool
  default     = false
}

variable "keep_work_days" {
  description = "The number of days after which a job's manifest, tracks and state objects are deleted from the work bucket."
  type        = number
  default     = 60

  validation {
    condition     = var.keep_work_days >= 56
    error_message = "keep_work_days must be 56 or more: a segment's message is requeued up to 3 times. Each of its 4 rounds takes at most 7 days in Pub/Sub and 7 days as a dead letter, and the state objects must outlive all of them."
  }
}

variable "keep_sources_days" {
  description = "The number of days after which an uploaded video is deleted. null: never (a channel's policy.json can delete it after processing)."
  type        = number
  default     = null

  validation {
    condition     = try(var.keep_sources_days >= 1 && floor(var.keep_sources_days) == var.keep_sources_days, var.keep_sources_days == null)
    error_message = "keep_sources_days must be a whole number of at least 1. With 0, videos would be deleted before they are processed."
  }
}

variable "keep_replaced_results_days" {
  description = "How many days a replaced or deleted result can be restored. 0: not at all."
  type        = number
  default     = 0

  validation {
    condition     = var.keep_replaced_results_days >= 0 && floor(var.keep_replaced_results_days) == var.keep_replaced_results_days
    error_message = "keep_replaced_results_days must be a whole number of at least 0."
  }
}

variable "kms_key_name" {
  description = "A Cloud KMS key (projects/P/locations/REGION/keyRings/R/cryptoKeys/K) for buckets, topics and images. Set it before the first deployment. null: Google's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/${var.region}/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be projects/P/locations/REGION/keyRings/R/cryptoKeys/K with the region of the deployment, because buckets accept no key from another region."
  }
}

variable "audit_data_access" {
  description = "Whether Cloud Audit Logs records each read and write of an object by a person or a page. The lines contain the names of objects, and Google bills them."
  type        = bool
  default     = false
}

variable "alerts" {
  description = "Whether to create the alerts. Google bills each of their four conditions."
  type        = bool
  default     = true
}

variable "alert_email" {
  description = "The email address that receives alerts. null: alerts appear only in Cloud Monitoring."
  type        = string
  default     = null
}

variable "billing_account" {
  description = "The billing account for the budget. You need roles/billing.costsManager on it. null: no budget."
  type        = string
  default     = null
}

variable "monthly_budget" {
  description = "The monthly budget, in whole units of the billing account's currency."
  type        = number
  default     = 100

  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget must be a whole number of at least 1."
  }
}

variable "webhook" {
  description = "The webhook that reports each job's end: an https URL, and the name of the secret in Secret Manager that signs the calls (32 characters or more). null: no webhook."
  type        = object({ url = string, secret_name = string })
  default     = null
}

variable "channels" {
  description = "The channels and their members. owners do everything in their channel, also on the console. uploaders add videos, and viewers download results. {}: only administrators of the project have access."
  type = map(object({
    owners    = optional(list(string), [])
    uploaders = optional(list(string), [])
    viewers   = optional(list(string), [])
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.channels) : can(regex("^[^/[:cntrl:]]{1,200}$", name)) && !contains([".", ".."], name)])
    error_message = "A channel's name must have 1 to 200 characters, no slash and no control character. It must not be \".\" or \"..\"."
  }

  validation {
    condition     = alltrue([for channel in var.channels : alltrue([for member in channel.owners : can(regex("^((user|serviceAccount):[^@\\s]+@|domain:)[^@\\s]+$", member))])])
    error_message = "Each of owners must be user:, domain: or serviceAccount: and an address. The console learns no groups of a user."
  }

  validation {
    condition     = alltrue([for channel in var.channels : alltrue([for member in concat(channel.uploaders, channel.viewers) : can(regex("^((user|group|serviceAccount):[^@\\s]+@|domain:)[^@\\s]+$", member))])])
    error_message = "Each of uploaders and viewers must be user:, group:, domain: or serviceAccount: and an address. A channel cannot be public."
  }

  validation {
    condition     = alltrue([for channel in var.channels : length(concat(channel.owners, channel.uploaders, channel.viewers)) > 0])
    error_message = "Each channel needs a member in owners, uploaders or viewers. Terraform ignores other words."
  }

  validation {
    condition     = length(jsonencode({ for name, channel in var.channels : name => channel.owners })) <= 32000
    error_message = "The names of all channels and owners must fit into 32,000 characters, which Cloud Run allows for a setting of the console. Name a domain: instead of its users."
  }
}

variable "console" {
  description = "The console: the administrators, who can open all channels (\"user:ada@example.com\", \"domain:...\"), and your own origins for it (\"https://console.example.com\"). The owners of a channel can open that channel. null: no console."
  type        = object({ administrators = optional(list(string), []), origins = optional(list(string), []) })
  default     = null

  validation {
    condition     = var.console == null || alltrue([for member in try(var.console.administrators, []) : can(regex("^((user|serviceAccount):[^@\\s]+@|domain:)[^@\\s]+$", member))])
    error_message = "Each of console.administrators must be user:, domain: or serviceAccount: and an address. The console learns no groups of a user, and it shows source videos, so it cannot be public."
  }

  validation {
    condition     = var.console == null || alltrue([for origin in try(var.console.origins, []) : can(regex("^https://[a-z0-9.-]+(:[0-9]+)?$", origin))])
    error_message = "Each of console.origins must be https:// and a host, without a path or a trailing slash, as browsers write an origin."
  }
}

variable "live" {
  description = "The live page: the members who can open it (\"user:ada@example.com\", \"group:...\"), the hosts of cameras that it can read (none: any public host), and the maximum number of instances. origins are your own origins for it. null: no live page."
  type        = object({ members = optional(list(string), []), hosts = optional(list(string), []), origins = optional(list(string), []), max_instances = optional(number, 1) })
  default     = null

  validation {
    condition     = var.live == null || alltrue([for member in try(var.live.members, []) : can(regex("^((user|group|serviceAccount):[^@\\s]+@|domain:)[^@\\s]+$", member))])
    error_message = "Each of live.members must be user:, group:, domain: or serviceAccount: and an address. The live page reads cameras, so it cannot be public."
  }

  validation {
    condition     = var.live == null || alltrue([for origin in try(var.live.origins, []) : can(regex("^https://[a-z0-9.-]+(:[0-9]+)?$", origin))])
    error_message = "Each of live.origins must be https:// and a host, without a path or a trailing slash, as browsers write an origin."
  }

  validation {
    condition     = contains(range(1, 1001), try(var.live.max_instances, 1))
    error_message = "live.max_instances must be a whole number from 1 to 1000. Cloud Run would replace 0 by its own maximum."
  }
}
